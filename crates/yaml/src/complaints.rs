//! What is wrong with a file, collected key by key, so that all of it is told at once.

use crate::{Document, Problem};

/// What is wrong, key by key.
#[derive(Debug, Default)]
pub struct Complaints(Vec<Complaint>);

#[derive(Debug)]
struct Complaint {
    /// Written like `policy.rules[0].for`; empty for the file as a whole.
    key: String,
    message: String,
}

impl Complaints {
    /// Notes what is wrong with the value at a key, written like `policy.rules[0].for`;
    /// empty for the file as a whole.
    pub fn add(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.0.push(Complaint { key: key.into(), message: message.into() });
    }

    /// Whether there is one of this key or of something in it.
    pub fn has(&self, key: &str) -> bool {
        self.0.iter().any(|complaint| {
            let inside = complaint.key.strip_prefix(key);
            inside.is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The same with every message put into other words.
    #[must_use]
    pub fn reworded(mut self, reword: impl Fn(String) -> String) -> Self {
        for Complaint { message, .. } in &mut self.0 {
            *message = reword(std::mem::take(message));
        }
        self
    }

    /// As problems of the file, by line.
    pub fn located(self, document: &Document) -> Vec<Problem> {
        let located = |complaint: Complaint| {
            let problem = document.problem(&complaint.key, &complaint.message);
            // The file as a whole has no key that could stand before the message.
            let message =
                if complaint.key.is_empty() { complaint.message } else { problem.message };
            Problem { message, ..problem }
        };
        let mut problems: Vec<Problem> = self.0.into_iter().map(located).collect();
        problems.sort_by_key(|problem| problem.place);
        problems
    }
}
