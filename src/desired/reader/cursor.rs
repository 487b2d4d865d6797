//! serde's view of one node of the tree.

use serde::de::value::StrDeserializer;
use serde::de::{
    DeserializeSeed, Deserializer, EnumAccess, IntoDeserializer, MapAccess, SeqAccess, VariantAccess, Visitor,
};

use super::{Hidden, Place, Stop};
use crate::desired::tree::{NodeId, Tree, Value};

/// The type whose literal values are refused by name: see `secret`.
const SECRET: &str = "Secret";
/// The type that is an entry, or a reference to a file of entries: see `document::whitelist`.
const ALLOWED: &str = "Allowed";

/// A node, and what is hidden from sight.
#[derive(Clone, Copy)]
pub struct Cursor<'de> {
    tree: &'de Tree,
    hidden: &'de Hidden,
    node: NodeId,
}

impl<'de> Cursor<'de> {
    /// Stands on the root.
    pub fn root(tree: &'de Tree, hidden: &'de Hidden) -> Self {
        Self { tree, hidden, node: Tree::ROOT }
    }

    fn on(self, node: NodeId) -> Self {
        Self { node, ..self }
    }

    fn value(self) -> &'de Value {
        &self.tree.node(self.node).value
    }

    fn visible(self) -> impl Iterator<Item = NodeId> + 'de {
        let hidden = self.hidden;
        self.tree.children(self.node).iter().copied().filter(move |child| !hidden.contains(child))
    }

    fn expected(self, what: &str) -> Stop {
        Stop::expected(what, self.value()).at(self.node)
    }

    fn text(self, what: &str) -> Result<&'de str, Stop> {
        match self.value() {
            Value::Text(text) => Ok(text),
            Value::Bool(_) | Value::Integer(_) | Value::Float(_) => {
                Err(self.expected(what).with_help("a text that looks like something else stands in quotes"))
            }
            _ => Err(self.expected(what)),
        }
    }

    fn integer<N: TryFrom<i128>>(self, smallest: i128, largest: i128) -> Result<N, Stop> {
        let refuse = || self.expected(&format!("a whole number from {smallest} to {largest}"));
        match self.value() {
            Value::Integer(number) => N::try_from(*number).map_err(|_| refuse()),
            Value::Text(text) if text.parse::<i128>().is_ok_and(|number| number.to_string() == *text) => {
                Err(refuse().with_help("write it without quotes"))
            }
            _ => Err(refuse()),
        }
    }

    fn visit_members<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        if !matches!(self.value(), Value::Map(_)) {
            return Err(self.expected("a mapping"));
        }
        visitor.visit_map(Members { cursor: self, rest: self.visible().collect::<Vec<_>>().into_iter(), next: None })
    }

    /// Refuses the first visible key that is not one of `fields`.
    fn check_fields(self, fields: &[&str]) -> Result<(), Stop> {
        let unknown = self.visible().find(|child| self.tree.key(*child).is_some_and(|key| !fields.contains(&key)));
        let Some(child) = unknown else { return Ok(()) };
        let key = self.tree.key(child).unwrap_or_default();
        let help = match nearest(key, fields) {
            Some(field) => format!("did you mean `{field}`?"),
            None if fields.is_empty() => "there are no fields here; write `{}`".to_owned(),
            None => format!("the fields here are {}", listed(fields)),
        };
        Err(Stop::wrong(Place::Key, format!("unknown field `{}`", key.escape_debug()), help).at(child))
    }
}

/// Writes words as "`a`, `b` and `c`".
fn listed(words: &[&str]) -> String {
    let quoted: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// The field that differs from a key by at most a third of its letters.
fn nearest<'a>(key: &str, fields: &[&'a str]) -> Option<&'a str> {
    let close_enough = 1 + key.len() / 4;
    let ranked = fields.iter().map(|field| (distance(key, field), *field));
    ranked.min().filter(|(distance, _)| *distance <= close_enough).map(|(_, field)| field)
}

/// Levenshtein's distance between two words.
fn distance(left: &str, right: &str) -> usize {
    if left.len() > 64 {
        return usize::MAX;
    }
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (above, letter) in left.chars().enumerate() {
        let mut diagonal = above;
        row[0] = above + 1;
        for (at, other) in right.iter().enumerate() {
            let substituted = diagonal + usize::from(letter != *other);
            diagonal = row[at + 1];
            row[at + 1] = substituted.min(row[at] + 1).min(diagonal + 1);
        }
    }
    row[right.len()]
}

macro_rules! integers {
    ($($method:ident $visit:ident $number:ty),+) => { $(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
            let number = self.integer::<$number>(<$number>::MIN.into(), <$number>::MAX.into())?;
            visitor.$visit(number)
        }
    )+ };
}

impl<'de> Deserializer<'de> for Cursor<'de> {
    type Error = Stop;

    integers!(
        deserialize_u8 visit_u8 u8, deserialize_u16 visit_u16 u16, deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64, deserialize_i8 visit_i8 i8, deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32, deserialize_i64 visit_i64 i64
    );

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        match self.value() {
            Value::Null => Err(self.expected("a value")),
            Value::Bool(value) => visitor.visit_bool(*value),
            Value::Integer(_) => visitor.visit_i64(self.integer(i64::MIN.into(), i64::MAX.into())?),
            Value::Float(value) => visitor.visit_f64(*value),
            Value::Text(text) => visitor.visit_str(text),
            Value::List(_) => self.deserialize_seq(visitor),
            Value::Map(_) => self.visit_members(visitor),
        }
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        match self.value() {
            Value::Bool(value) => visitor.visit_bool(*value),
            _ => Err(self.expected("`true` or `false`")),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_str(self.text("a text")?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        if !matches!(self.value(), Value::List(_)) {
            return Err(self.expected("a list").with_help("write it as `[…]`"));
        }
        visitor.visit_seq(Items { cursor: self, rest: self.visible().collect::<Vec<_>>().into_iter() })
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        self.visit_members(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        self.check_fields(fields)?;
        self.visit_members(visitor).map_err(|stop| stop.of_type(name).at(self.node))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Stop> {
        match name {
            SECRET => return visitor.visit_enum(Reference::to(self.secret(variants)?)),
            ALLOWED => return visitor.visit_enum(self.allowed()?),
            _ => {}
        }
        let expected =
            format!("one of {}", variants.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(", "));
        let word = self.text(&expected).map_err(|stop| stop.with_help(""))?;
        if !variants.contains(&word) {
            let help = nearest(word, variants).map(|word| format!("did you mean `{word}`?")).unwrap_or_default();
            return Err(self.expected(&expected).with_help(&help));
        }
        let variant: StrDeserializer<'de, Stop> = word.into_deserializer();
        visitor.visit_enum(variant)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Stop> {
        visitor.visit_unit()
    }

    serde::forward_to_deserialize_any! {
        i128 u128 f32 f64 char bytes byte_buf unit unit_struct tuple tuple_struct identifier
    }
}

impl<'de> Cursor<'de> {
    /// The only member of a secret's reference; a literal is refused without being repeated.
    fn secret(self, kinds: &'static [&'static str]) -> Result<Cursor<'de>, Stop> {
        const HELP: &str = "write `{credential: NAME}`, `{file: PATH}` or `{env: NAME}`";
        let refuse = |message: &str| Stop::wrong(Place::Value, message.to_owned(), HELP.to_owned()).at(self.node);
        if !matches!(self.value(), Value::Map(_)) {
            return Err(refuse("a secret never stands in this file: it is referred to"));
        }
        self.check_fields(kinds).map_err(|stop| stop.with_help(HELP))?;
        match self.visible().collect::<Vec<_>>()[..] {
            [member] => Ok(self.on(member)),
            _ if self.visible().count() < self.tree.children(self.node).len() => Err(Stop::reported().at(self.node)),
            _ => Err(refuse("a secret has exactly one place where it is read from")),
        }
    }

    /// An entry, or the path in `{file: PATH}`.
    fn allowed(self) -> Result<Reference<'de>, Stop> {
        if !matches!(self.value(), Value::Map(_)) {
            return Ok(Reference { kind: "entry", member: self });
        }
        self.check_fields(&["file"])?;
        match self.visible().next() {
            Some(member) => Ok(Reference::to(self.on(member))),
            None if self.tree.children(self.node).is_empty() => {
                let help = "write `{file: PATH}`, or an address or a network".to_owned();
                Err(Stop::wrong(Place::Value, "`file` is missing".to_owned(), help).at(self.node))
            }
            None => Err(Stop::reported().at(self.node)),
        }
    }
}

/// A variant of an enum, and its value.
struct Reference<'de> {
    kind: &'de str,
    member: Cursor<'de>,
}

impl<'de> Reference<'de> {
    /// The variant that is called as the key of a member.
    fn to(member: Cursor<'de>) -> Self {
        Self { kind: member.tree.key(member.node).unwrap_or_default(), member }
    }
}

impl<'de> EnumAccess<'de> for Reference<'de> {
    type Error = Stop;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), Stop> {
        Ok((seed.deserialize(IntoDeserializer::<Stop>::into_deserializer(self.kind))?, self))
    }
}

impl<'de> VariantAccess<'de> for Reference<'de> {
    type Error = Stop;

    fn unit_variant(self) -> Result<(), Stop> {
        Err(self.member.expected("no value"))
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, Stop> {
        seed.deserialize(self.member).map_err(|stop| stop.at(self.member.node))
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Stop> {
        self.member.deserialize_seq(visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Stop> {
        self.member.deserialize_struct("", fields, visitor)
    }
}

struct Members<'de> {
    cursor: Cursor<'de>,
    rest: std::vec::IntoIter<NodeId>,
    next: Option<NodeId>,
}

impl<'de> MapAccess<'de> for Members<'de> {
    type Error = Stop;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Stop> {
        let Some(node) = self.rest.next() else { return Ok(None) };
        self.next = Some(node);
        let key: StrDeserializer<'de, Stop> = self.cursor.tree.key(node).unwrap_or_default().into_deserializer();
        seed.deserialize(key).map(Some).map_err(|stop| stop.at(node))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Stop> {
        let node = self.next.take().unwrap_or(self.cursor.node);
        seed.deserialize(self.cursor.on(node)).map_err(|stop| stop.at(node))
    }
}

struct Items<'de> {
    cursor: Cursor<'de>,
    rest: std::vec::IntoIter<NodeId>,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Stop;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, Stop> {
        let Some(node) = self.rest.next() else { return Ok(None) };
        seed.deserialize(self.cursor.on(node)).map(Some).map_err(|stop| stop.at(node))
    }
}
