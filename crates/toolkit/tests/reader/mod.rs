//! A reader of expositions, for whoever tests what is written: small enough to be judged by
//! looking at it, and stricter than Prometheus. The fuzz targets in `tests/fuzz` use it, too.

use std::collections::HashSet;

/// A sample as a reader of the format sees it.
#[derive(Debug, PartialEq)]
pub(crate) struct Sample {
    /// The name of its series.
    pub(crate) name: String,
    /// Its labels, in the order in which they are written.
    pub(crate) labels: Vec<(String, String)>,
    /// Its value.
    pub(crate) value: f64,
}

/// Reads an exposition by the rules that both formats share; `None` if it breaks one.
pub(crate) fn parse(text: &str) -> Option<Vec<Sample>> {
    let mut samples = Vec::new();
    let mut described = HashSet::new();
    let mut has_ended = false;
    let Some(lines) = text.strip_suffix('\n') else { return text.is_empty().then_some(samples) };
    for line in lines.split('\n') {
        (!has_ended).then_some(())?;
        let Some(comment) = line.strip_prefix("# ") else {
            samples.push(parse_sample(line)?);
            continue;
        };
        let mut words = comment.splitn(3, ' ');
        match (words.next()?, words.next(), words.next()) {
            (what @ "HELP", Some(name), help) => {
                unescape(help.unwrap_or(""), &['n', '\\'])?;
                (is_name(name) && described.insert((what, name))).then_some(())?;
            }
            (what @ "TYPE", Some(name), Some(_)) => {
                (is_name(name) && described.insert((what, name))).then_some(())?;
            }
            ("EOF", None, None) => has_ended = true,
            _ => return None,
        }
    }
    Some(samples)
}

fn parse_sample(line: &str) -> Option<Sample> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    is_name(name).then_some(())?;
    let mut labels: Vec<(String, String)> = Vec::new();
    if rest.starts_with('{') {
        while let Some(inside) = rest.strip_prefix(if labels.is_empty() { '{' } else { ',' }) {
            let (label, after) = inside.split_once("=\"")?;
            let is_new = labels.iter().all(|(earlier, _)| earlier != label);
            (is_name(label) && is_new).then_some(())?;
            let end = unescaped_quote(after)?;
            labels.push((label.to_owned(), unescape(&after[..end], &['n', '\\', '"'])?));
            rest = &after[end + 1..];
        }
        rest = rest.strip_prefix('}')?;
    }
    Some(Sample { name: name.to_owned(), labels, value: rest.strip_prefix(' ')?.parse().ok()? })
}

fn is_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

fn unescaped_quote(text: &str) -> Option<usize> {
    let mut escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let here = c == '"' && !escaped;
        escaped = c == '\\' && !escaped;
        here.then_some(at)
    })
}

fn unescape(text: &str, allowed: &[char]) -> Option<String> {
    let mut plain = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let c = match c {
            '\\' => match chars.next().filter(|c| allowed.contains(c))? {
                'n' => '\n',
                c => c,
            },
            c => c,
        };
        plain.push(c);
    }
    Some(plain)
}
