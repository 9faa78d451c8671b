//! One way to lock.

use std::sync::{Mutex, MutexGuard, PoisonError};

/// Locks without caring for a panic elsewhere: what we guard is valid after every statement.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
