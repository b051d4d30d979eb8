//! Source files as the rules see them: comments and literals blanked out, test code marked.

use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A file, its text, and the same text with comments and literals replaced by spaces.
pub(crate) struct Source {
    /// Below the root of the workspace, with `/` between its parts.
    pub(crate) path: String,
    pub(crate) text: String,
    pub(crate) code: String,
    /// The whole file is a module of tests.
    pub(crate) is_test: bool,
    /// Items behind `#[cfg(test)]`, as ranges of bytes.
    pub(crate) tests: Vec<Range<usize>>,
}

impl Source {
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = blank(text);
        let tests = test_items(&code);
        let is_test = path.split('/').any(|part| part == "tests" || part == "benches");
        Self { path: path.to_owned(), text: text.to_owned(), code, is_test, tests }
    }

    pub(crate) fn in_tests(&self, at: usize) -> bool {
        self.is_test || self.tests.iter().any(|range| range.contains(&at))
    }

    /// Lines with something other than comments, but for tests.
    pub(crate) fn lines_of_code(&self) -> usize {
        let mut start = 0;
        let mut of_code = |line: &str| {
            let at = start;
            start += line.len();
            !line.trim().is_empty() && !self.in_tests(at)
        };
        self.code.split_inclusive('\n').filter(|line| of_code(line)).count()
    }

    /// The number of the line with this byte, from 1.
    pub(crate) fn line(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }

    /// Where the modules live that this file declares behind `#[cfg(test)]`, without `.rs`.
    fn test_modules(&self) -> Vec<String> {
        let (dir, name) = self.path.rsplit_once('/').unwrap_or(("", &self.path));
        let stem = name.trim_end_matches(".rs");
        let home = match stem {
            "mod" | "lib" | "main" => dir.to_owned(),
            _ => format!("{dir}/{stem}"),
        };
        let declared = self.tests.iter().filter_map(|range| {
            let item = self.code[range.clone()].strip_suffix(';')?;
            let name = item.rsplit_once("mod ")?.1.trim();
            let text = &self.text[range.clone()];
            Some(match text.split_once("path = \"").and_then(|(_, rest)| rest.split_once('"')) {
                Some((file, _)) => format!("{dir}/{}", file.trim_end_matches(".rs")),
                None => format!("{home}/{name}"),
            })
        });
        declared.collect()
    }
}

/// Every `.rs` file of the workspace in order, but for build output and for what is generated.
pub(crate) fn workspace(root: &Path) -> Vec<Source> {
    let mut paths = Vec::new();
    walk(root, &mut paths);
    paths.sort();
    let mut sources: Vec<Source> = paths
        .iter()
        .map(|path| {
            let text = fs::read_to_string(path).expect("a source file is UTF-8");
            let below = path.strip_prefix(root).expect("it was found below the root");
            Source::new(&below.to_string_lossy().replace('\\', "/"), &text)
        })
        .collect();
    let modules: Vec<String> = sources.iter().flat_map(Source::test_modules).collect();
    for source in &mut sources {
        let stem = source.path.trim_end_matches(".rs");
        source.is_test |= modules.iter().any(|module| {
            stem.strip_prefix(module.as_str())
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
    }
    sources
}

fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).expect("a directory of the workspace can be read") {
        let path = entry.expect("its entries too").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') || name == "target" || name == "generated.rs" {
            continue;
        }
        if path.is_dir() {
            walk(&path, found);
        } else if name.ends_with(".rs") {
            found.push(path);
        }
    }
}

/// The text with each comment, string and character literal replaced by spaces of the same length,
/// line ends kept, so that offsets and lines stay true.
pub(crate) fn blank(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let end = at + opaque(&bytes[at..], out.last().copied()).max(1);
        let is_code = opaque(&bytes[at..], out.last().copied()) == 0;
        for &byte in &bytes[at..end.min(bytes.len())] {
            out.push(if (is_code && byte.is_ascii()) || byte == b'\n' { byte } else { b' ' });
        }
        at = end;
    }
    String::from_utf8(out).expect("only ASCII was written")
}

/// How many bytes at the start of `rest` are one comment or literal; 0 when code stands there.
fn opaque(rest: &[u8], before: Option<u8>) -> usize {
    let in_word = before.is_some_and(is_word);
    match rest {
        [b'/', b'/', ..] => rest.iter().position(|&b| b == b'\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => 1 + quoted(&rest[1..], b'"'),
        [b'b' | b'c', b'"', ..] if !in_word => 2 + quoted(&rest[2..], b'"'),
        [b'b', b'\'', ..] if !in_word => 2 + quoted(&rest[2..], b'\''),
        [b'r', b'"' | b'#', ..] if !in_word => raw_string(rest, 1),
        [b'b' | b'c', b'r', b'"' | b'#', ..] if !in_word => raw_string(rest, 2),
        [b'\'', b'\\', ..] => 1 + quoted(&rest[1..], b'\''),
        // A quote, one character, a quote; anything else is a lifetime.
        [b'\'', first, ..] => {
            let width = match first {
                0..=0x7f => 1,
                0x80..=0xdf => 2,
                0xe0..=0xef => 3,
                _ => 4,
            };
            if rest.get(1 + width) == Some(&b'\'') { 2 + width } else { 0 }
        }
        _ => 0,
    }
}

fn quoted(rest: &[u8], end: u8) -> usize {
    let mut at = 0;
    while at < rest.len() && rest[at] != end {
        at += if rest[at] == b'\\' { 2 } else { 1 };
    }
    at + 1
}

fn raw_string(rest: &[u8], prefix: usize) -> usize {
    let hashes = rest[prefix..].iter().take_while(|&&b| b == b'#').count();
    if rest.get(prefix + hashes) != Some(&b'"') {
        return 0; // a raw identifier
    }
    let mut end = vec![b'"'];
    end.resize(1 + hashes, b'#');
    let body = prefix + hashes + 1;
    let found = rest[body..].windows(end.len()).position(|window| window == end);
    found.map_or(rest.len(), |at| body + at + end.len())
}

fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < rest.len() {
        match &rest[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

pub(crate) fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

/// From the first `{` at or after `from` to the byte behind its partner; a `;` outside of brackets
/// ends the search, as the item then has no body.
pub(crate) fn body(code: &str, from: usize) -> Range<usize> {
    let (mut depth, mut braces, mut start) = (0_i32, 0_i32, None);
    for (at, byte) in code.bytes().enumerate().skip(from) {
        match byte {
            b'(' | b'[' => depth += 1,
            b')' | b']' => depth -= 1,
            b'{' => {
                start = start.or(Some(at));
                braces += 1;
            }
            b'}' => braces -= 1,
            b';' if depth == 0 && braces == 0 => return at..at + 1,
            _ => {}
        }
        if let (Some(start), 0) = (start, braces) {
            return start..at + 1;
        }
    }
    from..code.len()
}

fn test_items(code: &str) -> Vec<Range<usize>> {
    let attribute = "#[cfg(test)]";
    code.match_indices(attribute).map(|(at, _)| at..body(code, at + attribute.len()).end).collect()
}
