//! The sources of the tree.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};

/// All files by their paths from the root.
#[derive(Clone)]
pub(crate) struct Tree(BTreeMap<PathBuf, Vec<u8>>);

impl Tree {
    /// Reads all but what is built and what runs left behind.
    pub(crate) fn read(root: &Path) -> Result<Self, String> {
        let mut files = BTreeMap::new();
        for path in files_below(root, true)? {
            let content = fs::read(&path).map_err(|e| format!("{}: {e}", path.display()))?;
            let path = path.strip_prefix(root).map_err(|e| e.to_string())?;
            files.insert(path.to_owned(), content);
        }
        Ok(Self(files))
    }

    /// The same for the same files, but for texts, which no test of the changes depends on.
    pub(crate) fn fingerprint(&self) -> String {
        let mut hasher = DefaultHasher::new();
        let is_text = |path: &Path| path.extension().is_some_and(|extension| extension == "md");
        let files = self.0.iter().filter(|(path, _)| !is_text(path));
        files.for_each(|file| file.hash(&mut hasher));
        format!("{:016x}", hasher.finish())
    }

    /// The text of a file.
    pub(crate) fn text(&self, path: &str) -> Result<&str, String> {
        let content = self.0.get(Path::new(path)).ok_or_else(|| format!("there is no {path}"))?;
        std::str::from_utf8(content).map_err(|e| format!("{path}: {e}"))
    }

    /// Replaces or adds a file.
    pub(crate) fn put(&mut self, path: &str, text: String) {
        self.0.insert(PathBuf::from(path), text.into_bytes());
    }

    /// Makes a directory hold these files and no others. What is there already is not touched, so
    /// that cargo does not build it again.
    pub(crate) fn write(&self, to: &Path) -> Result<(), String> {
        let error = |path: &Path, e| format!("{}: {e}", path.display());
        fs::create_dir_all(to).map_err(|e| error(to, e))?;
        for path in files_below(to, false)? {
            let known = path.strip_prefix(to).is_ok_and(|path| self.0.contains_key(path));
            if !known {
                fs::remove_file(&path).map_err(|e| error(&path, e))?;
            }
        }
        for (path, content) in &self.0 {
            let path = to.join(path);
            if fs::read(&path).is_ok_and(|old| old == *content) {
                continue;
            }
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(|e| error(parent, e))?;
            }
            fs::write(&path, content).map_err(|e| error(&path, e))?;
        }
        Ok(())
    }
}

fn files_below(root: &Path, sources: bool) -> Result<Vec<PathBuf>, String> {
    let (mut files, mut directories) = (Vec::new(), vec![root.to_owned()]);
    while let Some(directory) = directories.pop() {
        let error = |e| format!("{}: {e}", directory.display());
        for entry in fs::read_dir(&directory).map_err(error)? {
            let entry = entry.map_err(error)?;
            let kind = entry.file_type().map_err(error)?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let made = name == "target" || name == ".git" || name.starts_with("mutants.out");
            if sources && made {
                continue;
            }
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_the_sources_alone_and_follows_them() {
        let dir = crate::scratch("tree");
        let (from, to) = (dir.join("from"), dir.join("to"));
        for (path, text) in
            [("a.rs", "a"), ("b/c.rs", "c"), ("target/d.rs", "d"), ("mutants.out/missed.txt", "e")]
        {
            let path = from.join(path);
            fs::create_dir_all(path.parent().expect("a parent")).expect("a directory");
            fs::write(path, text).expect("a file");
        }
        let tree = Tree::read(&from).expect("a tree");
        tree.write(&to).expect("a copy");
        let copied = Tree::read(&to).expect("a tree");
        assert_eq!(copied.0.keys().collect::<Vec<_>>(), [Path::new("a.rs"), Path::new("b/c.rs")]);
        assert_eq!(copied.fingerprint(), tree.fingerprint());

        let written = || fs::metadata(to.join("a.rs")).and_then(|m| m.modified()).expect("a time");
        let before = written();
        let mut other = tree.clone();
        other.0.remove(Path::new("b/c.rs"));
        other.put("e.rs", "e".to_owned());
        other.write(&to).expect("a copy");
        assert_eq!(written(), before, "what is the same is left alone");
        assert!(!to.join("b/c.rs").exists());
        assert_eq!((tree.text("a.rs"), other.text("e.rs")), (Ok("a"), Ok("e")));
        assert_ne!(other.fingerprint(), tree.fingerprint());
        let before = other.fingerprint();
        other.put("README.md", "words".to_owned());
        assert_eq!(other.fingerprint(), before);
        fs::remove_dir_all(dir).expect("it goes away");
    }
}
