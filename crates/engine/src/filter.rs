//! Which znodes an operation is about: include and exclude globs over paths.
//!
//! `*` and `?` stay within one name, `**` crosses `/`. A pattern that matches a node covers everything
//! below it. Excludes win. Ancestors of what is included are needed to hold it and are kept as well.

use globset::{GlobBuilder, GlobMatcher};

/// A compiled set of patterns.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    include: Vec<Pattern>,
    exclude: Vec<Pattern>,
}

#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    /// The node alone.
    exact: GlobMatcher,
    /// The node and everything below it.
    covering: GlobMatcher,
    /// The literal names before the first wildcard: what an ancestor must agree with.
    literal: String,
}

/// A pattern that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{pattern:?} is not a path pattern: it begins with / and uses * ? [a-z] {{a,b}} and **")]
pub struct FilterError {
    /// As given.
    pub pattern: String,
    /// What the glob compiler says, where it got that far.
    pub source: Option<globset::Error>,
}

impl Filter {
    /// Compiles the patterns.
    pub fn new<S: AsRef<str>>(include: &[S], exclude: &[S]) -> Result<Self, FilterError> {
        let compile = |patterns: &[S]| -> Result<Vec<Pattern>, FilterError> {
            patterns.iter().map(|pattern| Pattern::new(pattern.as_ref())).collect()
        };
        Ok(Self { include: compile(include)?, exclude: compile(exclude)? })
    }

    /// Whether everything passes.
    pub fn is_empty(&self) -> bool {
        self.include.is_empty() && self.exclude.is_empty()
    }

    /// One text per distinct filter, for the lineage: sorted, without duplicates; empty when all passes.
    pub fn canonical(&self) -> String {
        let list = |sign: char, patterns: &[Pattern]| {
            let mut texts: Vec<String> = patterns.iter().map(|pattern| format!("{sign}{}\n", pattern.text)).collect();
            texts.sort();
            texts.dedup();
            texts.concat()
        };
        list('+', &self.include) + &list('-', &self.exclude)
    }

    /// The filter that a [`Filter::canonical`] text is of.
    pub fn from_canonical(text: &str) -> Result<Self, FilterError> {
        let list = |sign: char| -> Vec<&str> { text.lines().filter_map(|line| line.strip_prefix(sign)).collect() };
        Self::new(&list('+'), &list('-'))
    }

    /// Whether the node itself is wanted (or covered by a pattern for one of its ancestors).
    pub fn selects(&self, path: &[u8]) -> bool {
        if self.is_empty() {
            return true;
        }
        let text = String::from_utf8_lossy(path);
        let text = if text.is_empty() { "/" } else { &text };
        let covered = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.covers(text));
        (self.include.is_empty() || covered(&self.include)) && !covered(&self.exclude)
    }

    /// Whether an include pattern matches the node itself, not merely one of its ancestors.
    pub fn names(&self, path: &[u8]) -> bool {
        let text = String::from_utf8_lossy(path);
        let text = if text.is_empty() { "/" } else { &text };
        self.include.iter().any(|pattern| pattern.exact.is_match(text))
    }

    /// Whether the node has to be kept because something selected may lie below it.
    pub fn leads_to(&self, path: &[u8]) -> bool {
        if self.include.is_empty() {
            return self.selects(path);
        }
        let text = String::from_utf8_lossy(path);
        !self.exclude.iter().any(|pattern| pattern.covers(&text))
            && self.include.iter().any(|pattern| pattern.may_lie_below(&text))
    }
}

/// The pattern that matches one path, whatever characters it has. Bytes that are not UTF-8 match any character.
pub fn literal(path: &[u8]) -> String {
    let mut pattern = String::new();
    for c in String::from_utf8_lossy(path).chars() {
        match c {
            '*' | '?' | '[' | ']' | '{' | '}' | '\\' => pattern.extend(['[', c, ']']),
            char::REPLACEMENT_CHARACTER => pattern.push('?'),
            c => pattern.push(c),
        }
    }
    pattern
}

impl Pattern {
    fn new(text: &str) -> Result<Self, FilterError> {
        let fail = |source| FilterError { pattern: text.to_owned(), source };
        if !text.starts_with('/') {
            return Err(fail(None));
        }
        let text = if text.len() > 1 { text.trim_end_matches('/') } else { text };
        let compile = |glob: &str| {
            let glob = GlobBuilder::new(glob).literal_separator(true).empty_alternates(true).build();
            glob.map(|glob| glob.compile_matcher()).map_err(|error| fail(Some(error)))
        };
        let exact = compile(text)?;
        let covering = compile(&if text == "/" { "/**".to_owned() } else { format!("{text}{{,/**}}") })?;
        let literal: String = text.chars().take_while(|c| !"*?[{\\".contains(*c)).collect();
        Ok(Self { text: text.to_owned(), exact, covering, literal })
    }

    fn covers(&self, path: &str) -> bool {
        self.text == "/" || self.covering.is_match(path)
    }

    fn may_lie_below(&self, path: &str) -> bool {
        path.is_empty()
            || (self.literal.starts_with(path)
                && (self.literal.len() == path.len() || self.literal.as_bytes().get(path.len()) == Some(&b'/')))
            || (self.literal.len() < self.text.len() && path.starts_with(&self.literal))
            || (self.literal.len() < self.text.len() && self.literal.starts_with(path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(include: &[&str], exclude: &[&str]) -> Filter {
        Filter::new(include, exclude).unwrap()
    }

    #[test]
    fn a_pattern_covers_what_is_below() {
        let only = filter(&["/brokers/topics"], &["/brokers/topics/tmp-*"]);
        assert!(only.selects(b"/brokers/topics") && only.selects(b"/brokers/topics/a/partitions"));
        assert!(!only.selects(b"/brokers") && !only.selects(b"/brokers/topicsx"));
        assert!(!only.selects(b"/brokers/topics/tmp-1/x"));
        assert!(only.leads_to(b"") && only.leads_to(b"/brokers") && !only.leads_to(b"/admin"));
    }

    #[test]
    fn stars_stay_within_a_name() {
        let some = filter(&["/a/*/c", "/x/**/z"], &[]);
        assert!(some.selects(b"/a/b/c/d") && !some.selects(b"/a/b/b/c"));
        assert!(some.selects(b"/x/1/2/z") && some.leads_to(b"/a/b") && some.leads_to(b"/x/1/2"));
    }

    #[test]
    fn a_literal_path_matches_itself_alone_and_canonical_texts_come_back() {
        for path in ["/a", "/a*b", "/a?", "/[x]", "/{a,b}", "/!a", "/ü 日"] {
            let only = filter(&[&literal(path.as_bytes())], &[]);
            assert!(only.selects(path.as_bytes()) && only.selects(format!("{path}/x").as_bytes()), "{path}");
            assert!(!only.selects(b"/axb") && !only.selects(b"/x") && !only.selects(b"/b"), "{path}");
        }
        let both = filter(&["/b", "/a/*"], &["/a/tmp"]);
        assert_eq!(Filter::from_canonical(&both.canonical()).unwrap().canonical(), both.canonical());
        assert!(Filter::from_canonical("").unwrap().is_empty());
    }

    #[test]
    fn nothing_given_selects_all_and_equal_filters_are_equal_texts() {
        assert!(Filter::default().selects(b"") && Filter::default().canonical().is_empty());
        assert_eq!(filter(&["/b", "/a", "/a"], &[]).canonical(), filter(&["/a/", "/b"], &[]).canonical());
        assert!(Filter::new(&["a"], &[]).is_err());
    }
}
