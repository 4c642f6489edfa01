//! Finding the tensors of a pickle, with the names that `state_dict()` would give them.

use std::collections::{HashMap, HashSet};

use super::CheckpointError;
use super::rebuild::{Made, made};
use super::view::View;
use crate::pickle::{Id, Object, Pickle, Value};

/// How deep values may be nested. A module within another takes four levels.
const MOST_DEPTH: usize = 400;

/// How many values are looked at. Shared ones count each time, so that they cannot multiply without end.
const MOST_VISITS: usize = 1 << 22;

/// How many tensors are listed at most; each takes up to some 3 KiB.
const MOST_TENSORS: usize = 1 << 18;
/// How many a small pickle may list. Every other one must take a byte: dictionaries that hold one another twice would make
/// gigabytes of a few hundred bytes.
const FEW_TENSORS: usize = 1 << 10;

/// The bytes of the longest name, and of all together at most.
const LONGEST_NAME: usize = 1 << 14;
const MOST_NAMES: usize = 1 << 26;
/// The bytes of names in a small pickle, and how many more for each of its bytes.
const FEW_NAMES: usize = 1 << 20;
const NAMES_A_BYTE: usize = 64;

/// The entries of a module's state that hold tensors, directly or in further modules. They add nothing to names.
const MODULE_PARTS: [&str; 3] = ["_parameters", "_buffers", "_modules"];

/// The tensors that can be reached from the root, in the order of the pickle, by unique names.
///
/// Keys and indices are joined by dots. Objects are looked through too: the entries of dictionaries and lists of any
/// class, the state of anything, and the arguments of calls that are not known. A name that two tensors would have gets
/// `#2` the second time. The root itself is called `root`.
pub(super) fn tensors(pickle: &Pickle<'_>, root: &str) -> Result<Vec<(String, View)>, CheckpointError> {
    let mut walk = Walk {
        pickle,
        name: String::new(),
        found: Vec::new(),
        names: HashMap::new(),
        path: HashSet::new(),
        visits: 0,
        name_bytes: 0,
        most_tensors: MOST_TENSORS.min(FEW_TENSORS.saturating_add(pickle.end())),
        most_names: MOST_NAMES.min(FEW_NAMES.saturating_add(pickle.end().saturating_mul(NAMES_A_BYTE))),
        root,
    };
    walk.visit(pickle.root())?;
    Ok(walk.found)
}

struct Walk<'a> {
    pickle: &'a Pickle<'a>,
    /// The present name.
    name: String,
    found: Vec<(String, View)>,
    /// The names that are taken, with how many have asked for each.
    names: HashMap<String, u32>,
    /// The values around the present one, so that cycles end.
    path: HashSet<Id>,
    visits: usize,
    name_bytes: usize,
    most_tensors: usize,
    most_names: usize,
    root: &'a str,
}

type Done = Result<(), CheckpointError>;

impl Walk<'_> {
    fn visit(&mut self, id: Id) -> Done {
        self.visits += 1;
        if self.visits > MOST_VISITS {
            return Err(CheckpointError::TooMany {
                what: "values, shared ones counted each time",
                limit: MOST_VISITS,
            });
        }
        let pickle = self.pickle;
        let is_leaf =
            !matches!(pickle.value(id), Value::List(_) | Value::Tuple(_) | Value::Dict(_) | Value::Object(_));
        if is_leaf || self.path.contains(&id) {
            return Ok(());
        }
        if self.path.len() >= MOST_DEPTH {
            let at = self.name.chars().take(80).collect();
            return Err(CheckpointError::TooDeep { at, limit: MOST_DEPTH });
        }
        self.path.insert(id);
        match pickle.value(id) {
            Value::List(members) | Value::Tuple(members) => self.members(members)?,
            Value::Dict(items) => self.items(items)?,
            Value::Object(object) => self.object(object)?,
            _ => {}
        }
        self.path.remove(&id);
        Ok(())
    }

    /// Visits a value under a name below the present one.
    fn within(&mut self, key: &str, separator: &str, id: Id) -> Done {
        let length = self.name.len();
        if length + key.len() > LONGEST_NAME {
            return Err(CheckpointError::TooMany { what: "bytes in a tensor's name", limit: LONGEST_NAME });
        }
        if length > 0 {
            self.name.push_str(separator);
        }
        self.name.push_str(key);
        self.visit(id)?;
        self.name.truncate(length);
        Ok(())
    }

    fn members(&mut self, members: &[Id]) -> Done {
        members.iter().enumerate().try_for_each(|(index, &id)| self.within(&index.to_string(), ".", id))
    }

    fn items(&mut self, items: &[(Id, Id)]) -> Done {
        for (index, &(key, value)) in items.iter().enumerate() {
            match (self.pickle.text(key), self.pickle.int(key)) {
                (Some(text), _) => self.within(&text, ".", value)?,
                (_, Some(int)) => self.within(&int.to_string(), ".", value)?,
                _ => self.within(&format!("#{index}"), ".", value)?, // a key that has no short name
            }
        }
        Ok(())
    }

    fn object(&mut self, object: &Object) -> Done {
        let pickle = self.pickle;
        match made(pickle, object) {
            Err(what) => Err(CheckpointError::Tensor { tensor: self.full_name(), what }),
            Ok(Made::Same(id)) => self.visit(id),
            Ok(Made::Tensor(tensor)) => {
                self.found(tensor.view)?;
                tensor.parts.into_iter().try_for_each(|(part, id)| self.within(part, "@", id))
            }
            Ok(Made::Other) => {
                self.items(&object.items)?;
                self.members(&object.members)?;
                self.arguments(object)?;
                object.state.map_or(Ok(()), |state| self.state(state))
            }
        }
    }

    /// The only argument of a call, such as a list that something is made of, adds nothing to names.
    fn arguments(&mut self, object: &Object) -> Done {
        match self.pickle.sequence(object.arguments) {
            Some(&[only]) => self.visit(only),
            Some(members) => self.members(members),
            None => Ok(()),
        }
    }

    /// The state of a module, or of anything.
    fn state(&mut self, state: Id) -> Done {
        let pickle = self.pickle;
        let Value::Dict(items) = pickle.value(state) else { return self.visit(state) };
        let part = |id| pickle.text(id).and_then(|key| MODULE_PARTS.iter().position(|part| *part == key));
        if !items.iter().any(|&(key, _)| part(key).is_some()) {
            return self.visit(state);
        }
        // A module: what is in the three, and whatever else it holds under its own name.
        let mut ordered: Vec<_> =
            items.iter().filter_map(|&(key, value)| Some((part(key)?, value))).collect();
        ordered.sort_by_key(|(part, _)| *part);
        ordered.into_iter().try_for_each(|(_, value)| self.visit(value))?;
        let rest: Vec<_> = items.iter().copied().filter(|&(key, _)| part(key).is_none()).collect();
        self.items(&rest)
    }

    fn full_name(&self) -> String {
        let name = if self.name.is_empty() { self.root } else { &self.name };
        name.chars().take(200).collect()
    }

    fn found(&mut self, view: View) -> Done {
        if self.found.len() >= self.most_tensors {
            return Err(CheckpointError::TooMany {
                what: "tensors, shared ones counted each time",
                limit: self.most_tensors,
            });
        }
        let base = if self.name.is_empty() { self.root } else { &self.name };
        let name = free_name(&mut self.names, base);
        self.name_bytes += name.len();
        if self.name_bytes > self.most_names {
            return Err(CheckpointError::TooMany {
                what: "bytes in the names of tensors",
                limit: self.most_names,
            });
        }
        self.found.push((name, view));
        Ok(())
    }
}

/// `base`, or with the first number behind it that makes it new.
fn free_name(names: &mut HashMap<String, u32>, base: &str) -> String {
    let mut name = base.to_owned();
    while let Some(asked) = names.get(&name).copied() {
        let count = names.entry(base.to_owned()).or_insert(asked);
        *count += 1;
        name = format!("{base}#{count}");
    }
    names.insert(name.clone(), 1);
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_unique() {
        let mut names = HashMap::new();
        let asked = ["a", "a#2", "a", "b", "a", "a#2"];
        let given = asked.map(|base| free_name(&mut names, base));
        assert_eq!(given, ["a", "a#2", "a#3", "b", "a#4", "a#2#2"]);
    }

    /// A list in a list, and so on.
    fn nested(depth: usize) -> Vec<u8> {
        [&b"\x80\x02"[..], &b"]".repeat(depth), &b"a".repeat(depth - 1), b"."].concat()
    }

    #[test]
    fn nesting_and_sharing_are_limited() {
        let walk = |bytes: &[u8]| tensors(&Pickle::read(bytes, 0).unwrap(), "root").map(|found| found.len());
        assert_eq!(walk(&nested(MOST_DEPTH)), Ok(0));
        assert!(matches!(walk(&nested(MOST_DEPTH + 1)), Err(CheckpointError::TooDeep { .. })));
        assert!(matches!(walk(&nested(1_000_000)), Err(CheckpointError::TooDeep { .. })));
        // Each list holds the one before twice: 2^59 paths.
        let mut doubling = b"\x80\x02]q\x00".to_vec();
        for index in 1..60 {
            doubling.extend([b']', b'q', index, b'(', b'h', index - 1, b'h', index - 1, b'e']);
        }
        doubling.extend(b"\x86".repeat(59));
        doubling.push(b'.');
        assert!(matches!(walk(&doubling), Err(CheckpointError::TooMany { limit: MOST_VISITS, .. })));
        assert_eq!(walk(b"\x80\x02]q\x00h\x00a."), Ok(0), "a list that holds itself");
        // The same with dictionaries around one tensor: the pickle's size limits how many are listed.
        let word = |text: &str| [&[b'X', text.len() as u8, 0, 0, 0], text.as_bytes()].concat();
        let mut tensor = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((".to_vec();
        tensor.extend([word("storage"), b"ctorch\nFloatStorage\n".to_vec(), word("0"), word("cpu")].concat());
        tensor.extend(b"K\x01tQK\x00K\x01\x85K\x01\x85\x89}tRq\x00");
        for index in 1..40 {
            let inner = [b'h', index - 1];
            let dict = [b"0}(", &word("a")[..], &inner, &word("b"), &inner, b"uq", &[index]].concat();
            tensor.extend(dict);
        }
        tensor.push(b'.');
        let limit = FEW_TENSORS + tensor.len();
        let what = "tensors, shared ones counted each time";
        assert_eq!(walk(&tensor), Err(CheckpointError::TooMany { what, limit }));
        // Keys of 1024 bytes, 17 deep.
        let key = [&b"X\x00\x04\x00\x00"[..], &[b'a'; 1024]].concat();
        let long =
            [&b"\x80\x02"[..], &[b"}", &key[..]].concat().repeat(17), b"]", &b"s".repeat(17), b"."].concat();
        assert!(matches!(walk(&long), Err(CheckpointError::TooMany { limit: LONGEST_NAME, .. })));
    }
}
