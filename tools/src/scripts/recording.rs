//! Answers as a text file, and what differs between two of them.

use super::Played;

/// The file: a line `# name` for each script, then a step and its answer on two lines.
#[must_use]
pub fn render(played: &[Played]) -> String {
    let mut out = String::new();
    for script in played {
        out += &format!("# {}\n", script.name);
        for (step, answer) in &script.lines {
            out += &format!("{step}\n  {answer}\n");
        }
    }
    out
}

/// Reads what [`render`] wrote.
#[must_use]
pub fn parse(text: &str) -> Vec<Played> {
    let mut all: Vec<Played> = Vec::new();
    for line in text.lines() {
        if let Some(name) = line.strip_prefix("# ") {
            all.push(Played { name: name.to_owned(), lines: Vec::new() });
        } else if let Some(script) = all.last_mut() {
            match (line.strip_prefix("  "), script.lines.last_mut()) {
                (Some(answer), Some(last)) => answer.clone_into(&mut last.1),
                _ => script.lines.push((line.to_owned(), String::new())),
            }
        }
    }
    all
}

/// What differs, as text: nothing if all is equal. Every script must be on both sides.
#[must_use]
pub fn difference(real: &[Played], fake: &[Played]) -> String {
    let mut out = String::new();
    for script in real {
        let Some(other) = fake.iter().find(|other| other.name == script.name) else {
            out += &format!("# {}: not played to the fake\n", script.name);
            continue;
        };
        let steps = script.lines.len().max(other.lines.len());
        for at in 0..steps {
            let (real, fake) = (script.lines.get(at), other.lines.get(at));
            if real != fake {
                let (step, real) = real.cloned().unwrap_or_default();
                let (same, fake) = fake.cloned().unwrap_or_default();
                let name = &script.name;
                out += &format!("# {name}, step {at}: {step}\n");
                if step != same {
                    out += &format!("  other step: {same}\n");
                }
                out += &format!("  real: {real}\n  fake: {fake}\n");
            }
        }
    }
    for script in fake.iter().filter(|f| real.iter().all(|r| r.name != f.name)) {
        out += &format!("# {}: not recorded\n", script.name);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn played(name: &str, lines: &[(&str, &str)]) -> Played {
        let lines = lines.iter().map(|(s, a)| ((*s).to_owned(), (*a).to_owned())).collect();
        Played { name: name.to_owned(), lines }
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_differences_are_named() {
        let first = played("a/b", &[("Init", "w0"), ("Restart(Kill)", "")]);
        let all = vec![first.clone(), played("c", &[("X", "1")])];
        assert_eq!(parse(&render(&all)), all);
        assert_eq!(difference(&all, &all), "");
        let other = vec![first, played("c", &[("X", "2")])];
        assert_eq!(difference(&all, &other), "# c, step 0: X\n  real: 1\n  fake: 2\n");
        assert!(difference(&all, &other[..1]).contains("not played"));
        assert!(difference(&all[..1], &all).contains("not recorded"));
    }
}
