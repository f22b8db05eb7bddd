use super::*;

#[test]
fn values_are_put_in_once_and_places_in_them_are_none() {
    assert_eq!(fill("a <<x>> b <<y>>", &[("x", "<<y>>"), ("y", "2")]), "a <<y>> b 2");
    assert_eq!(fill("no place <<", &[]), "no place <<");
}

#[test]
fn literals_hold_whatever_an_id_holds() {
    assert_eq!(bash::quoted("it's $HOME"), r"'it'\''s $HOME'");
    assert_eq!(python::literal("a\"b\\c\n{d}'é"), "\"a\\\"b\\\\c\\n{d}'é\"");
}
