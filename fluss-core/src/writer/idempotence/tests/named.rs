//! Where the named scenarios of the specification (§10) are tested: `scenarios.md`, compared here
//! with the sources. T77 to T80 are with the simulator; its reduced form for one bucket is T76
//! here.

use std::path::Path;

fn sources(folder: &Path, text: &mut String) {
    let mut entries: Vec<_> = std::fs::read_dir(folder)
        .expect("a folder of this crate")
        .map(|entry| entry.expect("an entry").path())
        .collect();
    entries.sort();
    for path in entries {
        if path.is_dir() {
            sources(&path, text);
        } else if path.extension().is_some_and(|e| e == "rs") {
            text.push_str(&std::fs::read_to_string(&path).expect("a source"));
        }
    }
}

#[test]
fn each_named_scenario_has_its_tests() {
    let mut crate_text = String::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut crate_text);
    let rows: Vec<&str> =
        include_str!("scenarios.md").lines().filter_map(|l| l.strip_prefix("| T")).collect();
    let numbers: Vec<u32> = rows.iter().map(|r| r[..2].parse().expect("a number")).collect();
    let expected: Vec<u32> = (1..=87).collect();
    assert_eq!(numbers, expected);
    for row in rows {
        let names: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "T{row} has no test");
        for name in names {
            let test = format!("#[test]\nfn {name}()");
            let inner = format!("#[test]\n    fn {name}()");
            let found = crate_text.contains(&test) || crate_text.contains(&inner);
            assert!(found, "T{row}: no test {name}");
        }
    }
}
