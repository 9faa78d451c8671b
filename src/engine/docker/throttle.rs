//! How many containers start and end at once. Engines below 23 can deadlock when those are many, and then answer nothing
//! until they are killed: <https://github.com/moby/moby/issues/46661>.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bollard::ClientVersion;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::engine::error::EngineError;

/// Engine 23.0 speaks it.
const FIRST_WITHOUT_DEADLOCK: (usize, usize) = (1, 42);
/// See `tests/hazards/test_engine_deadlock.py`.
const MAX_AT_ONCE: usize = 4;

/// See the module.
pub(super) struct Throttle {
    turns: Semaphore,
    /// Calls that the engine answered: it is not frozen while this grows.
    answered: AtomicU64,
}

impl Default for Throttle {
    fn default() -> Self {
        Self { turns: Semaphore::new(MAX_AT_ONCE), answered: AtomicU64::new(0) }
    }
}

impl Throttle {
    /// Waits for a turn at an engine that needs it. `timeout`: how long a call may take.
    ///
    /// # Errors
    /// No call was answered for so long.
    pub(super) async fn turn(
        &self,
        version: ClientVersion,
        timeout: Duration,
    ) -> Result<Option<SemaphorePermit<'_>>, EngineError> {
        if (version.major_version, version.minor_version) >= FIRST_WITHOUT_DEADLOCK {
            return Ok(None);
        }
        loop {
            let answered = self.answered.load(Ordering::Relaxed);
            match tokio::time::timeout(timeout, self.turns.acquire()).await {
                Ok(turn) => return turn.map(Some).map_err(|_| EngineError::Unreachable("closed".into())),
                // Behind a frozen engine, callers would wait for each other's time-outs.
                Err(_) if self.answered.load(Ordering::Relaxed) == answered => {
                    return Err(EngineError::Timeout(timeout));
                }
                Err(_) => {}
            }
        }
    }

    /// A call had its turn, and this answer.
    pub(super) fn answered<T>(&self, answer: &Result<T, EngineError>) {
        if !answer.as_ref().is_err_and(EngineError::is_no_answer) {
            self.answered.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: ClientVersion = ClientVersion { major_version: 1, minor_version: 41 };
    const NEW: ClientVersion = ClientVersion { major_version: 1, minor_version: 42 };
    const TIMEOUT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn an_old_engine_starts_few_at_once_and_a_newer_one_all() -> Result<(), EngineError> {
        let throttle = Throttle::default();
        let mut turns = Vec::new();
        for _ in 0..MAX_AT_ONCE {
            turns.push(throttle.turn(OLD, TIMEOUT).await?);
        }
        assert!(throttle.turn(NEW, TIMEOUT).await?.is_none());
        // Nothing is answered: it is frozen.
        assert!(matches!(throttle.turn(OLD, TIMEOUT).await, Err(EngineError::Timeout(_))));
        turns.pop();
        assert!(throttle.turn(OLD, TIMEOUT).await?.is_some());
        Ok(())
    }

    #[tokio::test(start_paused = true)]
    async fn a_turn_is_waited_for_as_long_as_the_engine_answers() -> Result<(), EngineError> {
        let throttle = Throttle::default();
        let _turns = throttle.turns.acquire_many(u32::try_from(MAX_AT_ONCE).unwrap_or(0)).await;
        let answers = async {
            for _ in 0..10 {
                tokio::time::sleep(TIMEOUT / 2).await;
                throttle.answered(&Ok(()));
            }
            throttle.turns.add_permits(1);
        };
        let (turn, ()) = tokio::join!(throttle.turn(OLD, TIMEOUT), answers);
        assert!(turn?.is_some());
        Ok(())
    }
}
