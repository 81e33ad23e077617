//! Stdout and stderr, the only place that writes to them.

use std::io::{self, Write};

/// Prints `text` and a final newline. A reader that has seen enough (`satctl hosts | head`) is not
/// a failure.
pub(crate) fn print(text: &[u8]) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    let newline: &[u8] = if text.is_empty() || text.ends_with(b"\n") { b"" } else { b"\n" };
    match stdout
        .write_all(text)
        .and_then(|()| stdout.write_all(newline))
        .and_then(|()| stdout.flush())
    {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

/// Says on one line of stderr what went wrong, with its causes.
pub(crate) fn complain(error: &anyhow::Error) {
    let mut line = error.to_string();
    for cause in error.chain().skip(1) {
        let said = cause.to_string();
        // Some libraries repeat their source in their own text.
        if !line.ends_with(&said) {
            line = format!("{line}: {said}");
        }
    }
    // A closed stderr leaves nobody to tell.
    writeln!(io::stderr(), "satctl: {}", crate::text::one_line(&line)).ok();
}
