//! PostgreSQL 15's key words that cannot be plain names (`pg_get_keywords()`). Knows nothing of grammar.

use std::collections::HashSet;
use std::sync::LazyLock;

/// Reserved everywhere.
static RESERVED: Words = LazyLock::new(|| {
    words(
        "all analyse analyze and any array as asc asymmetric both case cast check collate column constraint create \
    current_catalog current_date current_role current_time current_timestamp current_user default deferrable desc distinct do else end \
    except false fetch for foreign from grant group having in initially intersect into lateral leading limit localtime localtimestamp not \
    null offset on only or order placing primary references returning select session_user some symmetric table then to trailing true union \
    unique user using variadic when where window with",
    )
});

/// Reserved but for the names of functions and types.
static RESERVED_BUT_FUNCTIONS: Words = LazyLock::new(|| {
    words(
        "authorization binary collation concurrently cross current_schema freeze full ilike inner is isnull \
    join left like natural notnull outer overlaps right similar tablesample verbose",
    )
});

type Words = LazyLock<HashSet<&'static str>>;

fn words(list: &'static str) -> HashSet<&'static str> {
    list.split_ascii_whitespace().collect()
}

/// Whether PostgreSQL refuses the word (lower case) as an unquoted column name.
pub fn is_reserved_word(word: &str) -> bool {
    RESERVED.contains(word) || RESERVED_BUT_FUNCTIONS.contains(word)
}

/// Whether PostgreSQL refuses the word (lower case) as the unquoted name of a function.
pub(super) fn is_reserved_for_functions(word: &str) -> bool {
    RESERVED.contains(word)
}
