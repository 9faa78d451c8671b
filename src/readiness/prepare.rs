//! What must be built before a process forks.

/// Builds what is otherwise built at first use. A child that is forked while another thread builds it would wait for
/// ever.
pub fn prepare() {
    super::place::prepare();
    super::redact::prepare();
    super::report::prepare();
}
