//! Every relative link leads to a file that is there, and to a heading where it names one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;

use super::fences::{Part, parts};
use super::{pages, root};

#[test]
fn every_relative_link_leads_somewhere() {
    let mut seen = 0;
    let mut wrong = Vec::new();
    let mut headings: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (page, text) in pages() {
        for (line, target) in links(&page, &text) {
            seen += 1;
            if let Err(why) = follow(&page, &target, &mut headings) {
                wrong.push(format!("{page}:{line}: {target}: {why}"));
            }
        }
    }
    assert!(wrong.is_empty(), "links that lead nowhere:\n  {}", wrong.join("\n  "));
    assert!(seen > 150, "only {seen} links were found");
}

/// The relative links of a page, each with its line. What stands in a fence or in a code span is no link.
fn links(page: &str, text: &str) -> Vec<(usize, String)> {
    let line = |part| match part {
        Part::Prose(line, words) | Part::Heading(line, _, words) => Some((line, words)),
        Part::Fence(_) => None,
    };
    let mut found = Vec::new();
    for (line, words) in parts(page, text).into_iter().filter_map(line) {
        let bare: String = words.split('`').step_by(2).collect::<Vec<_>>().join("_");
        let targets = bare.split("](").skip(1).filter_map(|rest| rest.split([')', ' ']).next());
        let relative = targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
        found.extend(relative.map(|target| (line, target.to_owned())));
    }
    found
}

fn follow(page: &str, target: &str, headings: &mut BTreeMap<String, BTreeSet<String>>) -> Result<(), String> {
    let (file, anchor) = target.split_once('#').map_or((target, None), |(file, anchor)| (file, Some(anchor)));
    let path = if file.is_empty() { root().join(page) } else { root().join(page).parent().unwrap().join(file) };
    if !path.exists() {
        return Err("there is no such file".to_owned());
    }
    let Some(anchor) = anchor else { return Ok(()) };
    let is_page = path.extension().is_some_and(|extension| extension == "md");
    if !is_page {
        return Err("only a page has headings".to_owned());
    }
    let name = path.canonicalize().unwrap().display().to_string();
    let known = headings.entry(name).or_insert_with(|| anchors(&fs::read_to_string(&path).unwrap()));
    if known.contains(anchor) { Ok(()) } else { Err("the page has no such heading".to_owned()) }
}

/// The anchors that a forge makes of a page's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    for part in parts("a page", text) {
        let Part::Heading(_, _, words) = part else { continue };
        let slug = slug(&words);
        let count = counts.entry(slug.clone()).and_modify(|count| *count += 1).or_insert(0);
        found.insert(if *count == 0 { slug } else { format!("{slug}-{count}") });
    }
    found
}

fn slug(words: &str) -> String {
    // The words of a link are the heading's; where it leads is not.
    let mut text = String::new();
    for (index, piece) in words.split("](").enumerate() {
        text += if index == 0 { piece } else { piece.split_once(')').map_or("", |(_, rest)| rest) };
    }
    let kept = text.to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || [' ', '-', '_'].contains(c));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

#[test]
fn headings_have_the_anchors_of_a_forge() {
    let found = anchors("# A page\n## The `run` verb, and *more*\n## Twice\n## Twice\n```sh\n# none\n```\n");
    let expected = ["a-page", "the-run-verb-and-more", "twice", "twice-1"].map(str::to_owned);
    assert_eq!(found, BTreeSet::from(expected));
}
