//! How a program ends: what it prints last, and the code its supervisor sees.
//!
//! Two failures are told apart because they call for different people. A
//! [`Failure::Usage`] is mended by editing flags or a file, and restarting the
//! program does not help: exit 64 (`EX_USAGE` of sysexits.h). A
//! [`Failure::Runtime`] may pass by itself: exit 1.
//!
//! Nothing here calls `process::exit`: `main` returns the code, so that what it
//! owns is dropped.

use std::{
    error::Error,
    fmt::Write as _,
    io::{self, Write as _},
    process::ExitCode,
};

/// `EX_USAGE`: flags, environment or configuration cannot be used as they are.
pub const USAGE: u8 = 64;

/// Why a program ends without having done its work.
#[derive(Debug)]
pub enum Failure {
    /// Flags or configuration are wrong. Each string is one problem, whole in itself,
    /// and says what to change.
    Usage(Vec<String>),
    /// Everything else: an address in use, a file that vanished.
    Runtime(anyhow::Error),
}

impl Failure {
    /// A usage failure with one problem.
    pub fn usage(problem: impl Into<String>) -> Self {
        Self::Usage(vec![problem.into()])
    }

    /// The code that the supervisor sees.
    fn code(&self) -> u8 {
        match self {
            Self::Usage(_) => USAGE,
            Self::Runtime(_) => 1,
        }
    }

    /// One line per problem.
    fn lines(&self) -> Vec<String> {
        match self {
            Self::Usage(problems) => problems.iter().map(|problem| one_line(problem)).collect(),
            Self::Runtime(error) => vec![one_line(&chain(error.as_ref()))],
        }
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::Runtime(error)
    }
}

/// Parses the command line. The error is the code to return from `main`: 0 after
/// `--help` and `--version`, 64 for what cannot be parsed; the reason has then been printed.
pub fn parse_args<A: clap::Parser>() -> Result<A, ExitCode> {
    A::try_parse().map_err(|error| {
        if error.use_stderr() {
            let problem = Failure::usage(clap_problem(&error.render().to_string()));
            return finish(A::command().get_name(), Err(problem));
        }
        // A closed stdout leaves nobody to tell.
        error.print().ok();
        ExitCode::SUCCESS
    })
}

/// What clap says on several lines, on one, and without the usage that follows it.
fn clap_problem(rendered: &str) -> String {
    let lines = rendered.lines().map(str::trim).filter(|line| !line.is_empty());
    let said = lines
        .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
        .collect::<Vec<_>>()
        .join(" ");
    said.strip_prefix("error: ").unwrap_or(&said).to_owned()
}

/// Prints why the program `name` failed, if it did, to stderr, and gives its exit code.
pub fn finish(name: &str, result: Result<(), Failure>) -> ExitCode {
    let Err(failure) = result else { return ExitCode::SUCCESS };
    let mut stderr = io::stderr().lock();
    for line in failure.lines() {
        // A closed stderr leaves nobody to tell.
        writeln!(stderr, "{name}: {line}").ok();
    }
    ExitCode::from(failure.code())
}

/// An error followed by its sources, as one line: `cannot read x: no such file`.
pub fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let said = cause.to_string();
        // Some libraries repeat their source in their own text.
        if !text.ends_with(&said) {
            write!(text, ": {said}").expect("writing to a string does not fail");
        }
        source = cause.source();
    }
    text
}

/// The text with control characters escaped, so that what came from outside stays on
/// its line and steers no terminal.
pub fn one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() { line.extend(c.escape_default()) } else { line.push(c) }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context as _;

    #[test]
    fn usage_is_64_with_a_line_for_each_problem() {
        let failure = Failure::Usage(vec!["--a: bad\nforged".into(), "--b: bad".into()]);
        assert_eq!(failure.code(), 64);
        assert_eq!(failure.lines(), ["--a: bad\\nforged", "--b: bad"]);
    }

    #[test]
    fn a_flag_that_cannot_be_parsed_is_one_line() {
        #[derive(Debug, clap::Parser)]
        struct Args {
            #[arg(long = "log.format", value_parser = ["logfmt", "json"])]
            format: Option<String>,
        }
        let rendered = |flag: &str| {
            <Args as clap::Parser>::try_parse_from(["x", flag]).unwrap_err().render().to_string()
        };
        assert_eq!(
            clap_problem(&rendered("--log.format=xml")),
            "invalid value 'xml' for '--log.format <FORMAT>' [possible values: logfmt, json]"
        );
        assert_eq!(
            clap_problem(&rendered("--log.forma=x")),
            "unexpected argument '--log.forma' found tip: a similar argument exists: '--log.format'"
        );
    }

    #[test]
    fn a_runtime_failure_is_1_and_one_line_with_its_causes() {
        let error = Err::<(), _>(io::Error::other("disk full"))
            .context("cannot write the store")
            .unwrap_err();
        let failure = Failure::Runtime(error);
        assert_eq!(failure.code(), 1);
        assert_eq!(failure.lines(), ["cannot write the store: disk full"]);
    }
}
