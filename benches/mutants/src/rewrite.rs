//! Puts changes behind a switch.
//!
//! The body of a function becomes a `match` on the number of the change that is on, with an arm for
//! each of its changes: the body's text with that one change. The last arm is the body as it is. As
//! one change is on at a time, nothing is nested but functions, and a file grows by the size of a
//! function for each change of it. Each arm is compiled as it would be alone: what does not compile
//! there would not compile without the switch, and means there what it would mean without.
//!
//! This does not do for constants and constant functions, which cannot read the switch, and for
//! functions that return an `impl Trait`, whose arms would be of several types.

use std::collections::BTreeMap;
use std::ops::{Range, RangeInclusive};
use std::str::FromStr;

use proc_macro2::{Delimiter, TokenStream, TokenTree};

use crate::change::Change;

/// What arms are chosen by, in the rewritten crate.
pub(crate) const MODULE: &str = "switched_mutants";
/// The variable that says which change is on, by its number.
pub(crate) const VARIABLE: &str = "FLUSS_SWITCHED_MUTANT";

/// A file with its changes behind the switch.
#[derive(Debug, Default)]
pub(crate) struct Rewritten {
    /// Its text.
    pub(crate) text: String,
    /// Where each change is.
    pub(crate) arms: Vec<Arm>,
    /// Those that cannot be switched.
    pub(crate) alone: Vec<usize>,
    lines: usize,
}

/// The lines of the text that one change is in.
#[derive(Debug)]
pub(crate) struct Arm {
    /// The number of the change.
    pub(crate) number: usize,
    /// From 1.
    pub(crate) lines: RangeInclusive<usize>,
}

/// A function with changes.
struct Function<'a> {
    /// What is between its braces.
    body: Range<usize>,
    changes: Vec<(usize, &'a Change)>,
}

/// The module that tells which change is on: none if the variable is not set.
pub(crate) fn module() -> String {
    format!(
        "//! Which change is on.\n\n\
         static ON: std::sync::LazyLock<usize> = std::sync::LazyLock::new(|| {{\n    \
             let number = std::env::var(\"{VARIABLE}\");\n    \
             number.map_or(0, |number| number.parse().expect(\"{VARIABLE} is a number\"))\n\
         }});\n\n\
         #[inline]\n\
         pub(crate) fn on() -> usize {{\n    *ON\n}}\n"
    )
}

/// Puts these changes of a file behind the switch, each under its number, which is not 0.
pub(crate) fn switched(source: &str, changes: &[(usize, &Change)]) -> Result<Rewritten, String> {
    let mut functions = BTreeMap::new();
    let mut rewritten = Rewritten::default();
    for &(number, change) in changes {
        let span = change.span.bytes(source)?;
        let body = match &change.function {
            Some(function) => switchable_body(source, function.span.bytes(source)?)?,
            None => None,
        };
        match body.filter(|body| body.start <= span.start && span.end <= body.end) {
            Some(body) => {
                let function = functions
                    .entry(body.start)
                    .or_insert_with(|| Function { body, changes: Vec::new() });
                function.changes.push((number, change));
            }
            None => rewritten.alone.push(number),
        }
    }
    // By their start: a function stands before those in it.
    let functions: Vec<_> = functions.into_values().collect();
    rewritten.part(source, 0..source.len(), &functions)?;
    Ok(rewritten)
}

impl Rewritten {
    /// A part of the file with the functions that are in it.
    fn part(
        &mut self,
        source: &str,
        part: Range<usize>,
        functions: &[Function<'_>],
    ) -> Result<(), String> {
        let mut at = part.start;
        let mut functions = functions;
        while let [first, rest @ ..] = functions {
            let within = rest.iter().take_while(|f| f.body.start < first.body.end).count();
            let (nested, next) = rest.split_at(within);
            self.push(&source[at..first.body.start]);
            self.push(&format!("\nmatch crate::{MODULE}::on() {{\n"));
            for &(number, change) in &first.changes {
                let begin = self.lines + 1;
                let changed = change.apply(source, first.body.clone())?;
                self.push(&format!("{number} => {{{changed}\n}}\n"));
                self.arms.push(Arm { number, lines: begin..=self.lines });
            }
            self.push("_ => {");
            self.part(source, first.body.clone(), nested)?;
            self.push("\n}\n}\n");
            at = first.body.end;
            functions = next;
        }
        self.push(&source[at..part.end]);
        Ok(())
    }

    fn push(&mut self, text: &str) {
        self.lines += text.matches('\n').count();
        self.text.push_str(text);
    }
}

/// What is between the braces of this function; none if it cannot be switched.
fn switchable_body(source: &str, function: Range<usize>) -> Result<Option<Range<usize>>, String> {
    let text = &source[function.clone()];
    let tokens = TokenStream::from_str(text).map_err(|e| format!("{e}: {text}"))?;
    let tokens: Vec<_> = tokens.into_iter().collect();
    let Some((TokenTree::Group(body), head)) = tokens.split_last() else {
        return Err(format!("a function without a body: {text}"));
    };
    if body.delimiter() != Delimiter::Brace {
        return Err(format!("a function without a body: {text}"));
    }
    let named = head.iter().position(|token| is_word(token, "fn")).unwrap_or_default();
    let constant = head[..named].iter().any(|token| is_word(token, "const"));
    // What it returns stands behind its parameters. The first parentheses may be those of a bound,
    // and what follows them an `impl` of a parameter: such a function is left out as well.
    let returned = head[named..].iter().skip_while(|token| !is_parentheses(token)).skip(1);
    if constant || returned.into_iter().any(|token| mentions(token, "impl")) {
        return Ok(None);
    }
    let (open, close) = (body.span_open().byte_range(), body.span_close().byte_range());
    Ok(Some(function.start + open.end..function.start + close.start))
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

fn is_parentheses(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Group(group) if group.delimiter() == Delimiter::Parenthesis)
}

fn mentions(token: &TokenTree, word: &str) -> bool {
    match token {
        TokenTree::Group(group) => group.stream().into_iter().any(|token| mentions(&token, word)),
        token => is_word(token, word),
    }
}

#[cfg(test)]
mod tests;
