//! Which entries of a tree are taken.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use globset::{Glob, GlobBuilder, GlobMatcher, GlobSet, GlobSetBuilder};

use crate::{RelPath, TreeError};

/// Compiled include and exclude patterns, relative to the top of the tree. A pattern without `/` matches a name at any
/// depth; one with `/` matches from the top; a trailing `/` matches folders only; `*` does not cross `/`, `**` does. What
/// an exclude matches is left out with all that is in it. When there are includes, what no include matches (and that is
/// not in a folder that one matches) is left out, but for the folders on the way. The top itself is always taken.
#[derive(Debug, Clone, Default)]
pub struct Filter {
    include: Option<Includes>,
    exclude: Option<Patterns>,
}

/// What the filter says of an entry whose folder is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Left out with all that is in it.
    Out,
    /// A folder that something taken may be in.
    OnTheWay,
    /// Taken with all that is in it, but for what an exclude matches.
    In,
}

impl Filter {
    /// Compiles patterns; the error names the first that cannot be understood.
    pub fn new(include: &[String], exclude: &[String]) -> Result<Self, TreeError> {
        Ok(Self {
            include: if include.is_empty() { None } else { Some(Includes::new(include)?) },
            exclude: if exclude.is_empty() { None } else { Some(Patterns::new(exclude)?) },
        })
    }

    /// Whether the entry is taken. Looks at the folders that it is in, too.
    pub fn takes(&self, path: &RelPath, is_directory: bool) -> bool {
        self.verdict(path, is_directory) != Verdict::Out
    }

    /// Whether the entry is taken for its own sake, and not only as a folder on the way to others.
    pub fn selects(&self, path: &RelPath, is_directory: bool) -> bool {
        self.verdict(path, is_directory) == Verdict::In
    }

    fn verdict(&self, path: &RelPath, is_directory: bool) -> Verdict {
        let mut verdict = self.top();
        let bytes = path.as_bytes();
        let ends = bytes.iter().enumerate().filter(|(_, b)| **b == b'/').map(|(at, _)| at);
        for end in ends {
            verdict = self.judge(&bytes[..end], true, verdict);
            if verdict == Verdict::Out {
                return verdict;
            }
        }
        if path.is_top() { verdict } else { self.judge(bytes, is_directory, verdict) }
    }

    /// The verdict over the top.
    pub(crate) fn top(&self) -> Verdict {
        if self.include.is_some() { Verdict::OnTheWay } else { Verdict::In }
    }

    /// The verdict over the entry at `path`, when that over its folder is `folder`.
    pub(crate) fn judge(&self, path: &[u8], is_directory: bool, folder: Verdict) -> Verdict {
        if folder == Verdict::Out || self.exclude.as_ref().is_some_and(|out| out.matches(path, is_directory))
        {
            return Verdict::Out;
        }
        match &self.include {
            Some(include) if folder == Verdict::OnTheWay => include.judge(path, is_directory),
            _ => Verdict::In,
        }
    }
}

/// Patterns, sorted by what they are held against.
#[derive(Debug, Clone)]
struct Patterns {
    names: GlobSet,
    folder_names: GlobSet,
    paths: GlobSet,
    folder_paths: GlobSet,
}

impl Patterns {
    fn new(patterns: &[String]) -> Result<Self, TreeError> {
        let mut builders = [(); 4].map(|()| GlobSetBuilder::new());
        for pattern in patterns {
            let shape = Shape::of(pattern)?;
            let which = usize::from(shape.folders_only) + 2 * usize::from(shape.from_top);
            builders[which].add(compile(pattern, shape.body)?);
        }
        let [names, folder_names, paths, folder_paths] = builders;
        let build = |builder: GlobSetBuilder| {
            builder.build().map_err(|e| refusal(&patterns.join(", "), e.kind().to_string()))
        };
        Ok(Self {
            names: build(names)?,
            folder_names: build(folder_names)?,
            paths: build(paths)?,
            folder_paths: build(folder_paths)?,
        })
    }

    fn matches(&self, path: &[u8], is_directory: bool) -> bool {
        let name = path.rsplit(|&b| b == b'/').next().unwrap_or(path);
        let hit = |set: &GlobSet, bytes: &[u8]| !set.is_empty() && set.is_match(as_path(bytes));
        hit(&self.names, name)
            || hit(&self.paths, path)
            || (is_directory && (hit(&self.folder_names, name) || hit(&self.folder_paths, path)))
    }
}

/// Include patterns, and what tells whether a folder lies on the way to what one of them may match.
#[derive(Debug, Clone)]
struct Includes {
    patterns: Patterns,
    /// A pattern that may match at any depth below any folder.
    anywhere: bool,
    /// For each other pattern, its parts up to the first `**`.
    ways: Vec<Way>,
}

#[derive(Debug, Clone)]
struct Way {
    parts: Vec<GlobMatcher>,
    /// Whether anything may follow the parts.
    open: bool,
}

impl Includes {
    fn new(patterns: &[String]) -> Result<Self, TreeError> {
        let mut includes = Self { patterns: Patterns::new(patterns)?, anywhere: false, ways: Vec::new() };
        for pattern in patterns {
            let shape = Shape::of(pattern)?;
            match Way::of(shape.body) {
                Some(way) if shape.from_top => includes.ways.push(way),
                _ => includes.anywhere = true,
            }
        }
        Ok(includes)
    }

    fn judge(&self, path: &[u8], is_directory: bool) -> Verdict {
        if self.patterns.matches(path, is_directory) {
            Verdict::In
        } else if is_directory && (self.anywhere || self.ways.iter().any(|way| way.leads_through(path))) {
            Verdict::OnTheWay
        } else {
            Verdict::Out
        }
    }
}

impl Way {
    /// Nothing for a pattern whose parts cannot be told apart, such as `{a/b,c}/d`.
    fn of(body: &str) -> Option<Self> {
        let mut way = Self { parts: Vec::new(), open: false };
        for part in body.split('/') {
            if part.contains("**") {
                way.open = true;
                break;
            }
            way.parts.push(Glob::new(part).ok()?.compile_matcher());
        }
        Some(way)
    }

    fn leads_through(&self, folder: &[u8]) -> bool {
        let mut parts = self.parts.iter();
        for name in folder.split(|&b| b == b'/') {
            match parts.next() {
                None => return self.open,
                Some(part) if part.is_match(as_path(name)) => {}
                Some(_) => return false,
            }
        }
        self.open || parts.next().is_some()
    }
}

/// A pattern taken apart.
struct Shape<'a> {
    body: &'a str,
    from_top: bool,
    folders_only: bool,
}

impl<'a> Shape<'a> {
    fn of(pattern: &'a str) -> Result<Self, TreeError> {
        let without_end = pattern.strip_suffix('/').unwrap_or(pattern);
        let from_top = without_end.contains('/');
        let body = without_end.strip_prefix('/').unwrap_or(without_end);
        if body.is_empty() {
            return Err(refusal(pattern, "it names nothing".to_owned()));
        }
        if body.split('/').any(|part| part.is_empty() || part == "." || part == "..") {
            return Err(refusal(pattern, "it has an empty, '.' or '..' part, which no entry has".to_owned()));
        }
        Ok(Self { body, from_top, folders_only: without_end.len() < pattern.len() })
    }
}

fn compile(pattern: &str, body: &str) -> Result<Glob, TreeError> {
    let built = GlobBuilder::new(body).literal_separator(true).backslash_escape(true).build();
    built.map_err(|e| refusal(pattern, e.kind().to_string()))
}

fn refusal(pattern: &str, reason: String) -> TreeError {
    TreeError::Pattern { pattern: pattern.to_owned(), reason }
}

fn as_path(bytes: &[u8]) -> &Path {
    Path::new(OsStr::from_bytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What of these paths is taken; a trailing `/` marks a folder.
    fn taken<'a>(include: &[&str], exclude: &[&str], paths: &[&'a str]) -> Vec<&'a str> {
        let owned = |patterns: &[&str]| patterns.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>();
        let filter = Filter::new(&owned(include), &owned(exclude)).unwrap();
        let takes = |path: &str| {
            let bytes = path.trim_end_matches('/').as_bytes().to_vec();
            filter.takes(&RelPath::from_bytes(bytes).unwrap(), path.ends_with('/') || path.is_empty())
        };
        paths.iter().copied().filter(|path| takes(path)).collect()
    }

    #[test]
    fn without_patterns_everything_is_taken() {
        assert_eq!(taken(&[], &[], &["", "a/", "a/b"]), ["", "a/", "a/b"]);
    }

    #[test]
    fn an_exclude_takes_out_all_that_is_in_what_it_matches() {
        let paths = ["", "a/", "a/cache/", "a/cache/x", "cache/", "cache/deep/y", "b"];
        assert_eq!(taken(&[], &["cache"], &paths), ["", "a/", "b"]);
        assert_eq!(taken(&[], &["/cache"], &paths), ["", "a/", "a/cache/", "a/cache/x", "b"]);
        assert_eq!(taken(&[], &["a/cache"], &paths), ["", "a/", "cache/", "cache/deep/y", "b"]);
    }

    #[test]
    fn a_trailing_slash_matches_folders_only() {
        let paths = ["log/", "log/x", "a/", "a/log"];
        assert_eq!(taken(&[], &["log/"], &paths), ["a/", "a/log"]);
        assert_eq!(taken(&["a/log/"], &[], &paths), ["a/"]);
    }

    #[test]
    fn one_star_stays_in_a_part_and_two_cross() {
        let paths = ["a/x.tmp", "a/b/x.tmp", "x.tmp"];
        assert_eq!(taken(&[], &["a/*.tmp"], &paths), ["a/b/x.tmp", "x.tmp"]);
        assert_eq!(taken(&[], &["a/**/*.tmp"], &paths), ["x.tmp"]);
        assert_eq!(taken(&[], &["*.tmp"], &paths), [""; 0]);
    }

    #[test]
    fn an_include_takes_what_is_in_what_it_matches_and_the_folders_on_the_way() {
        let paths = ["", "a/", "a/b/", "a/b/c/", "a/b/c/d", "a/b/x", "a/x", "z/", "z/a/", "y"];
        assert_eq!(taken(&["a/b/c"], &[], &paths), ["", "a/", "a/b/", "a/b/c/", "a/b/c/d"]);
        assert_eq!(taken(&["a/*/c"], &["d"], &paths), ["", "a/", "a/b/", "a/b/c/"]);
        assert_eq!(taken(&["/y"], &[], &paths), ["", "y"]);
        assert_eq!(taken(&["a/**/d"], &[], &paths), ["", "a/", "a/b/", "a/b/c/", "a/b/c/d"]);
    }

    #[test]
    fn an_included_name_may_lie_in_any_folder() {
        assert_eq!(taken(&["*.conf"], &[], &["a/", "a/x.conf", "a/x"]), ["a/", "a/x.conf"]);
        assert_eq!(taken(&["{a/b,c}/d"], &[], &["a/", "a/b/", "a/b/d", "a/b/e"]), ["a/", "a/b/", "a/b/d"]);
    }

    #[test]
    fn a_folder_on_the_way_is_taken_and_not_selected() {
        let filter = Filter::new(&["a/b/c".to_owned()], &["d".to_owned()]).unwrap();
        for (path, is_directory, selected) in
            [("", true, false), ("a/b", true, false), ("a/b/c", true, true), ("a/b/c/x", false, true)]
        {
            let path = RelPath::from_bytes(path.as_bytes().to_vec()).unwrap();
            assert!(filter.takes(&path, is_directory));
            assert_eq!(filter.selects(&path, is_directory), selected, "{path}");
        }
        assert!(!filter.selects(&RelPath::from_bytes(b"a/b/c/d".to_vec()).unwrap(), false));
    }

    #[test]
    fn an_exclude_wins_over_an_include() {
        assert_eq!(taken(&["a"], &["*.tmp"], &["a/", "a/x", "a/x.tmp"]), ["a/", "a/x"]);
    }

    #[test]
    fn names_that_are_not_utf8_are_matched_as_bytes() {
        let filter = Filter::new(&[], &["*.tmp".to_owned()]).unwrap();
        assert!(!filter.takes(&RelPath::from_bytes(b"\xff\n.tmp".to_vec()).unwrap(), false));
        assert!(filter.takes(&RelPath::from_bytes(b"\xff\n.txt".to_vec()).unwrap(), false));
    }

    #[test]
    fn a_pattern_that_cannot_be_understood_is_named() {
        for wrong in ["a[", "", "/", "../x", "a//b", "./a"] {
            let error = Filter::new(&["good".to_owned()], &[wrong.to_owned()]).unwrap_err();
            assert!(matches!(error, TreeError::Pattern { pattern, .. } if pattern == wrong), "{wrong}");
        }
    }
}
