//! What the containers of previews are called.

use std::collections::HashMap;

use crate::id::PreviewId;

/// The names that differ from the derived ones: a replaced naming hook, or a listing, told them.
pub(crate) struct Names {
    prefix: String,
    given: HashMap<PreviewId, String>,
}

impl Names {
    pub(crate) fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), given: HashMap::new() }
    }

    /// From now on the container of this preview has this name.
    pub(crate) fn set(&mut self, id: &PreviewId, name: &str) {
        if name == id.container_name(&self.prefix) {
            self.given.remove(id);
        } else {
            self.given.insert(id.clone(), name.to_owned());
        }
    }

    pub(crate) fn of(&self, id: &PreviewId) -> String {
        self.given.get(id).cloned().unwrap_or_else(|| id.container_name(&self.prefix))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_that_was_told_last_counts() {
        let (mut names, id) = (Names::new("p-"), PreviewId::project(7));
        assert_eq!(names.of(&id), "p-7");
        names.set(&id, "other");
        assert_eq!(names.of(&id), "other");
        names.set(&id, "p-7");
        assert_eq!(names.of(&id), "p-7");
        assert!(names.given.is_empty());
    }
}
