//! What somebody meant who wrote something else.

/// The candidate nearest to `word`, if it is near enough to be meant.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).max(1);
    candidates
        .map(|candidate| (distance(word, candidate), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, candidate)| candidate)
}

/// Insertions, deletions, replacements and swaps of neighbours; case, `-` and `_` do not count.
fn distance(left: &str, right: &str) -> usize {
    let (left, right) = (folded(left), folded(right));
    if left.len().abs_diff(right.len()) > MAX_LENGTH || left.len() > MAX_LENGTH {
        return usize::MAX;
    }
    let mut before_last = vec![0; right.len() + 1];
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (i, &a) in left.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &b) in right.iter().enumerate() {
            let at = |row: &[usize], index: usize| row.get(index).copied().unwrap_or(usize::MAX);
            let replaced = at(&last, j) + usize::from(a != b);
            let shorter = at(&last, j + 1).min(at(&row, j)) + 1;
            let swapped =
                i > 0 && j > 0 && left.get(i - 1) == Some(&b) && right.get(j - 1) == Some(&a);
            let swap = if swapped {
                at(&before_last, j - 1) + 1
            } else {
                usize::MAX
            };
            row.push(replaced.min(shorter).min(swap));
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

fn folded(word: &str) -> Vec<char> {
    let fold = |character: char| match character {
        '-' => '_',
        other => other.to_ascii_lowercase(),
    };
    word.chars().map(fold).collect()
}

/// No key is longer; a longer word is not worth the time.
const MAX_LENGTH: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_key_is_found() {
        let keys = ["max_body", "heuristic", "memory", "ttl", "key"];
        let near = |word| nearest(word, keys.into_iter());
        assert_eq!(near("max_bdy"), Some("max_body"));
        assert_eq!(near("max-body"), Some("max_body"));
        assert_eq!(near("MaxBody"), Some("max_body"));
        assert_eq!(near("heruistic"), Some("heuristic"));
        assert_eq!(near("tll"), Some("ttl"));
        assert_eq!(near("upstream"), None);
        assert_eq!(near(""), None);
        assert_eq!(near(&"x".repeat(10_000)), None);
    }
}
