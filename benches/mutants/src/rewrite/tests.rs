use std::process::Command;

use super::*;
use crate::change::{Function, Position, Span};

/// A program with each kind of change. Its `main` prints what all functions come to.
const PROGRAM: &str = r#"
use std::fmt;

const SIGNED: i32 = -1;

const fn constant(a: u32) -> u32 {
    a + 1
}

#[derive(Debug, Default)]
struct Settings {
    first: u32,
    second: u32,
}

struct Sum<'a>(&'a [u32]);

impl Sum<'_> {
    /// What a { in a comment, or in a "}", does not end.
    pub(crate) fn value(&self) -> u32 {
        let mut sum = 10;
        for part in self.0 {
            sum += part; // the last line
        }
        sum
    }

    fn parts(&self) -> impl Iterator<Item = &u32> {
        self.0.iter().filter(|part| **part < 3)
    }
}

impl fmt::Display for Sum<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.value())
    }
}

fn between<F: Fn(u32) -> bool>(a: u32, other: F) -> bool {
    let above = 1 < a;
    above && a < 3 || other(a)
}

fn chain(a: u32) -> u32 {
    a + 9 - a + a
}

fn not(a: bool) -> bool {
    !a
}

fn arm(a: u32) -> &'static str {
    match a {
        1 => "one",
        n if n > 5 => "many",
        _ => "some",
    }
}

fn early(a: Option<u32>) -> Option<u32> {
    let a = a?;
    if a == 7 {
        return None;
    }
    Some(a)
}

fn settings() -> Settings {
    Settings { first: 1, ..Settings::second() }
}

impl Settings {
    fn second() -> Self {
        Self { second: 2, ..Default::default() }
    }
}

fn outer(a: u32) -> u32 {
    fn inner(a: u32) -> u32 {
        a * 10
    }
    let twice = |a: u32| {
        let two = 2;
        inner(a) * two
    };
    twice(a) + 1
}

fn nothing(a: &mut u32) {
    *a += 1;
}

fn main() {
    let sum = Sum(&[1, 2, 3]);
    print!("{} {:?} ", sum, sum.parts().collect::<Vec<_>>());
    let never = |_| false;
    print!("{} {} {} {} ", between(2, never), between(4, never), chain(3), not(true));
    print!("{} {} {} {:?} {:?} ", arm(1), arm(6), arm(2), early(Some(7)), early(None));
    let mut last = 4;
    nothing(&mut last);
    println!("{:?} {} {} {} {}", settings(), outer(2), last, constant(0), SIGNED);
}
"#;

const UNCHANGED: &str = "16 [1, 2] true false 12 false one many some None None \
                         Settings { first: 1, second: 2 } 41 5 1 -1";

/// Where, what, by what, and what of `UNCHANGED` becomes what; no function for a constant.
type Case = (Option<&'static str>, &'static str, &'static str, (&'static str, &'static str));

const CASES: &[Case] = &[
    // The value of a function.
    (Some("value"), "let mut sum = 10;..}\n        sum", "0", ("16", "0")),
    (Some("nothing"), "*a += 1;", "()", ("41 5", "41 4")),
    (Some("early"), "let a = a?;..Some(a)", "Some(1)", ("None None", "Some(1) Some(1)")),
    // Operators: it is the text that changes, and with it what binds tighter.
    (Some("value"), "+=", "-=", ("16", "4")),
    (Some("value"), "+=", "*=", ("16", "60")),
    (Some("between"), "<", ">", ("true false", "false false")),
    (Some("between"), "&&", "||", ("true false", "true true")),
    (Some("between"), "||", "&&", ("true false", "false false")),
    (Some("chain"), "+", "*", ("12 false", "27 false")),
    (Some("chain"), "-", "*", ("12 false", "33 false")),
    (Some("chain"), "- a +", "- a *", ("12 false", "3 false")),
    (Some("early"), "==", "!=", ("None None", "Some(7) None")),
    (Some("not"), "!", "", ("12 false", "12 true")),
    // Match arms, guards, fields.
    (Some("arm"), r#"1 => "one","#, "", ("one", "some")),
    (Some("arm"), "n > 5", "true", ("some", "many")),
    (Some("arm"), "n > 5", "false", ("many", "some")),
    (Some("settings"), "first: 1,", "", ("first: 1", "first: 0")),
    (Some("second"), "second: 2,", "", ("second: 2", "second: 0")),
    // Functions in functions, and closures.
    (Some("inner"), "*", "+", ("41", "25")),
    (Some("outer"), "inner(a) *", "inner(a) +", ("41", "23")),
    (Some("outer"), ") + 1", ") - 1", ("41", "39")),
    // What cannot be switched.
    (None, "-1", "1", ("", "")),
    (Some("constant"), "+", "*", ("", "")),
    (Some("parts"), "<", "==", ("", "")),
];

fn position(source: &str, at: usize) -> Position {
    let before = &source[..at];
    let line = before.rfind('\n').map_or(0, |end| end + 1);
    Position { line: before.matches('\n').count() + 1, column: before[line..].chars().count() + 1 }
}

fn span(source: &str, part: Range<usize>) -> Span {
    Span { start: position(source, part.start), end: position(source, part.end) }
}

/// The text of the function with this name, from its first word on.
fn function(source: &str, name: &str) -> Range<usize> {
    let named = source.find(&format!("fn {name}")).expect("a function");
    let line = source[..named].rfind('\n').map_or(0, |end| end + 1);
    let indent = source[line..].chars().take_while(|c| *c == ' ').count();
    let close = format!("\n{}}}", " ".repeat(indent));
    let end = named + source[named..].find(&close).expect("its end") + close.len();
    line + indent..end
}

fn change(source: &str, (name, text, replacement, _): &Case) -> Change {
    let within = name.map_or(0..source.len(), |name| function(source, name));
    let (first, last) = text.split_once("..").filter(|(a, _)| !a.is_empty()).unwrap_or((text, ""));
    // Behind the head, which may hold the same signs.
    let head = name.map_or(0, |_| source[within.clone()].find(") -> ").map_or(0, |at| at + 5));
    let start = within.start + head;
    let start = start + source[start..within.end].find(first).expect("the text");
    let rest = start + first.len();
    let end = rest + source[rest..within.end].find(last).expect("its end") + last.len();
    Change {
        name: format!("{name:?}: {text} with {replacement}"),
        file: "main.rs".to_owned(),
        package: "program".to_owned(),
        function: name.map(|_| Function { span: span(source, within) }),
        span: span(source, start..end),
        replacement: (*replacement).to_owned(),
    }
}

fn numbered(changes: &[Change]) -> Vec<(usize, &Change)> {
    (1..).zip(changes).collect()
}

fn program() -> (Vec<Change>, Rewritten) {
    let changes: Vec<_> = CASES.iter().map(|case| change(PROGRAM, case)).collect();
    let rewritten = switched(PROGRAM, &numbered(&changes)).expect("it can be rewritten");
    (changes, rewritten)
}

#[test]
fn each_change_does_what_it_does_alone_and_none_changes_nothing() {
    let (changes, rewritten) = program();
    let dir = crate::scratch("program");
    std::fs::write(dir.join("main.rs"), format!("mod {MODULE};\n{}", rewritten.text))
        .expect("a file");
    std::fs::write(dir.join(format!("{MODULE}.rs")), module()).expect("a file");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let built = Command::new(compiler)
        .args(["--edition=2024", "-Coverflow-checks=on", "--cap-lints=allow", "main.rs"])
        .current_dir(&dir)
        .output()
        .expect("rustc can be started");
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let said = |number: Option<usize>| {
        let mut program = Command::new(dir.join("main"));
        program.env_remove(VARIABLE);
        if let Some(number) = number {
            program.env(VARIABLE, number.to_string());
        }
        let output = program.output().expect("the program can be started");
        let status = output.status.success();
        if status { String::from_utf8(output.stdout).expect("text") } else { "PANIC".to_owned() }
    };
    for none in [None, Some(0), Some(9999)] {
        assert_eq!(said(none).trim_end(), UNCHANGED, "{none:?}");
    }
    for ((number, change), (_, _, _, (from, to))) in (1..).zip(&changes).zip(CASES) {
        let alone = rewritten.alone.contains(&number);
        assert_eq!(rewritten.arms.iter().any(|arm| arm.number == number), !alone);
        let expected = if alone { UNCHANGED.to_owned() } else { UNCHANGED.replacen(from, to, 1) };
        assert_eq!(said(Some(number)).trim_end(), expected, "{}", change.name);
    }
    std::fs::remove_dir_all(dir).expect("it goes away");
}

#[test]
fn constants_and_what_returns_an_impl_are_left_alone() {
    let (_, rewritten) = program();
    assert_eq!(rewritten.alone, [CASES.len() - 2, CASES.len() - 1, CASES.len()]);
}

#[test]
fn the_last_arm_of_a_function_is_its_text() {
    let (_, rewritten) = program();
    let mut text = rewritten.text;
    // Inner functions first: they are rewritten in the last arm of the outer ones only.
    while let Some(begin) = text.rfind(&format!("\nmatch crate::{MODULE}::on() {{\n")) {
        let last = begin + text[begin..].find("\n_ => {").expect("a last arm");
        let body = last + "\n_ => {".len();
        let close = "\n}\n}\n";
        let end = body + text[body..].find(close).expect("its end");
        text = format!("{}{}{}", &text[..begin], &text[body..end], &text[end + close.len()..]);
    }
    assert_eq!(text, PROGRAM);
}

#[test]
fn nothing_is_rewritten_without_changes() {
    let rewritten = switched(PROGRAM, &[]).expect("it can be rewritten");
    assert_eq!((rewritten.text.as_str(), rewritten.arms.len()), (PROGRAM, 0));
}

#[test]
fn the_lines_of_an_arm_hold_its_change_alone() {
    let (changes, rewritten) = program();
    let lines: Vec<_> = rewritten.text.lines().collect();
    for arm in &rewritten.arms {
        let text = lines[arm.lines.start() - 1..*arm.lines.end()].join("\n");
        let body = function(PROGRAM, CASES[arm.number - 1].0.expect("a function"));
        let body = switchable_body(PROGRAM, body).expect("tokens").expect("a body");
        let changed = changes[arm.number - 1].apply(PROGRAM, body).expect("a text");
        assert_eq!(text, format!("{} => {{{changed}\n}}", arm.number));
    }
}

#[test]
fn a_list_of_another_tree_is_refused() {
    let (changes, _) = program();
    assert!(switched("fn main() {}\n", &numbered(&changes)).is_err());
    let other = PROGRAM.replace("fn value(&self) -> u32 {", "fn value(&self) -> u32;");
    assert!(switched(&other, &numbered(&changes)).is_err());
}
