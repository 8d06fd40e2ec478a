//! What somebody may have meant: names that are near a misspelt one.

/// Names given when several are near.
const NEAR_MAX: usize = 3;

/// How alike two names must be, from 0 to 1 (Jaro-Winkler); clap has the same bound for options.
/// Below it a hint misleads more often than it helps.
const ALIKE_MIN: f64 = 0.7;

/// The names among `known` that are like `name`, the nearest first, three at most.
pub fn near<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let mut near: Vec<(f64, &str)> = known
        .into_iter()
        .filter(|it| *it != name)
        .map(|it| (strsim::jaro_winkler(&name.to_lowercase(), &it.to_lowercase()), it))
        .filter(|(alike, _)| *alike > ALIKE_MIN)
        .collect();
    near.sort_by(|(a, at), (b, other)| b.total_cmp(a).then(at.cmp(other)));
    near.into_iter().take(NEAR_MAX).map(|(_, name)| name).collect()
}

/// The same as the end of an error: `; did you mean web01, web02?`, or nothing.
pub fn did_you_mean<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let near = near(name, known);
    if near.is_empty() { String::new() } else { format!("; did you mean {}?", near.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_names_are_suggested_and_far_ones_are_not() {
        let known = ["web01", "web02", "monitoring01", "gunter", "pi4"];
        let hint = |name| did_you_mean(name, known);
        assert_eq!(hint("web1"), "; did you mean web01, web02?");
        assert_eq!(hint("Gunther"), "; did you mean gunter?");
        assert_eq!(hint("xyz"), "");
        assert_eq!(hint(""), "");
    }
}
