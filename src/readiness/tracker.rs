//! What the signals and the answers of one container add up to.

use super::{Signal, classify};

/// The readiness of one run of one container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Readiness {
    ready: bool,
    answered: bool,
    page_errors: u64,
    page_errors_over: u64,
    module_error: bool,
}

impl Readiness {
    /// Takes in one plain line; tells whether it was the first sign that the server is up.
    pub fn line(&mut self, line: &str) -> bool {
        let was_up = self.is_up();
        match classify(line) {
            None => {}
            Some(Signal::Ready | Signal::Compiled) => self.ready = true,
            Some(Signal::Answered) => self.answer(200, self.page_errors),
            Some(Signal::PageError) => self.page_errors += 1,
            Some(Signal::ModuleError) => self.module_error = true,
            Some(Signal::ModuleMended) => self.module_error = false,
        }
        self.is_up() && !was_up
    }

    /// A mark to hand to [`Self::answer`]: how many errors had been printed when the request was sent.
    #[must_use]
    pub fn mark(&self) -> u64 {
        self.page_errors
    }

    /// Takes in the status of an answer to a request sent at `mark`. Below 500 the page was compiled; no error of the
    /// page that was printed before the request stands any more.
    pub fn answer(&mut self, status: u16, mark: u64) {
        if status < 500 {
            (self.ready, self.answered) = (true, true);
            self.page_errors_over = self.page_errors_over.max(mark);
        }
    }

    /// With no address to send a request to, what the log alone says.
    pub fn decide_by_logs(&mut self) {
        self.answered |= self.ready;
    }

    /// Something that was printed says that the page compiled, and no request will.
    pub fn complete_by_logs(&mut self) {
        self.answer(200, self.page_errors);
    }

    /// TEMPORARY
    #[must_use]
    pub fn errors(&self) -> &[crate::preview::CompileError] {
        &[]
    }

    /// TEMPORARY
    #[must_use]
    pub fn hint(&self) -> Option<String> {
        None
    }

    /// The server has said, or shown, that it is up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.ready || self.answered
    }

    /// A compile error stands.
    #[must_use]
    pub fn has_error(&self) -> bool {
        self.page_errors > self.page_errors_over || self.module_error
    }

    /// The page answered below 500 and no compile error stands.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.answered && !self.has_error()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(lines: &[&str]) -> Readiness {
        let mut readiness = Readiness::default();
        for line in lines {
            readiness.line(line);
        }
        readiness
    }

    #[test]
    fn ready_is_not_complete_until_the_page_answers() {
        let mut readiness = after(&[" ✓ Ready in 879ms"]);
        assert!(readiness.is_up() && !readiness.is_complete());
        readiness.answer(200, readiness.mark());
        assert!(readiness.is_complete());
    }

    #[test]
    fn a_page_compiled_while_broken_is_not_complete() {
        let mut readiness = after(&[
            " ✓ Ready in 940ms",
            " ✓ Compiled / in 4.7s",
            " ⨯ ./app/page.js:1:60",
            " ✓ Compiled /_error in 2.8s",
        ]);
        readiness.answer(500, 0);
        assert!(readiness.has_error() && !readiness.is_complete());
    }

    #[test]
    fn a_good_answer_ends_errors_printed_before_its_request_only() {
        let mut readiness = after(&["✓ Ready in 5ms", "⨯ ./app/page.js:1:60"]);
        readiness.answer(200, 0);
        assert!(readiness.has_error(), "the error came after the request was sent");
        readiness.answer(200, readiness.mark());
        assert!(readiness.is_complete());
    }

    #[test]
    fn a_200_line_ends_a_page_error_but_no_module_error() {
        let mended = after(&["⨯ ./app/page.js:1:60", "✓ Compiled in 13ms", " GET / 200 in 50ms"]);
        assert!(mended.is_complete());
        let mut vite =
            after(&["  VITE v8.3.8  ready in 369 ms", "4:52:23 PM [vite] Internal server error: Transform failed"]);
        vite.answer(200, vite.mark());
        assert!(vite.has_error() && !vite.is_complete());
        vite.line("4:52:27 PM [vite] (client) hmr update /src/App.jsx");
        assert!(vite.is_complete());
    }

    #[test]
    fn logs_alone_decide_without_an_address() {
        let mut readiness = after(&[]);
        readiness.decide_by_logs();
        assert!(!readiness.is_complete());
        readiness.line(" ✓ Ready in 879ms");
        readiness.decide_by_logs();
        assert!(readiness.is_complete());
    }

    #[test]
    fn the_first_sign_arms_once() {
        let mut readiness = Readiness::default();
        assert!(!readiness.line("> next dev"));
        assert!(readiness.line(" ✓ Ready in 879ms"));
        assert!(!readiness.line(" ✓ Compiled / in 4.3s (436 modules)"));
    }
}
