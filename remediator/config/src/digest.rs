//! User and password of ZooKeeper's scheme `digest`, from a file of one line.

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::Path,
};

/// More than any user and password.
const MAX_BYTES: u64 = 4 * 1024;

/// `USER:PASSWORD`, which is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Digest(String);

impl Digest {
    /// Reads a file of one line, `USER:PASSWORD`, of at most 4 KiB.
    ///
    /// # Errors
    /// What is wrong, without the file's name and without what is in it.
    pub fn read(file: &Path) -> Result<Self, String> {
        let read = || -> io::Result<String> {
            let mut text = String::new();
            File::open(file)?.take(MAX_BYTES + 1).read_to_string(&mut text)?;
            Ok(text)
        };
        Self::parse(&read().map_err(|error| error.to_string())?)
    }

    /// Reads the text of such a file.
    ///
    /// # Errors
    /// What is wrong, without what is in it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.len() as u64 > MAX_BYTES {
            return Err("is too large for USER:PASSWORD".into());
        }
        let line = text.trim_end_matches(['\n', '\r']);
        match line.split_once(':') {
            Some((user, password)) if !user.is_empty() && !password.is_empty() => {}
            _ => return Err("is not USER:PASSWORD".into()),
        }
        if line.contains(['\n', '\r']) {
            return Err("has more than one line; write USER:PASSWORD alone".into());
        }
        Ok(Self(line.to_owned()))
    }

    /// As ZooKeeper wants it: `USER:PASSWORD`. Not to be shown.
    #[must_use]
    pub fn secret(&self) -> &str {
        &self.0
    }

    /// The user alone.
    #[must_use]
    pub fn user(&self) -> &str {
        self.0.split_once(':').map_or(&self.0, |(user, _)| user)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_line_and_is_not_shown() {
        assert_eq!(Digest::parse("user:pass:word\r\n").unwrap().secret(), "user:pass:word");
        let long = format!("user:{}", "x".repeat(4 * 1024));
        for bad in ["", "user", "user:", ":word", "a:b\nc:d", &long] {
            let refused = Digest::parse(bad).unwrap_err();
            assert!(bad.len() < 2 || !refused.contains(bad), "{refused}");
        }
        assert_eq!(format!("{:?}", Digest::parse("user:word")), "Ok(Digest)");
    }
}
