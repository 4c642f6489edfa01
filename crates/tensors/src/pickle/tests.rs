use super::*;

/// A pickle of protocol 4 with this body.
fn run(body: &[u8]) -> Result<String, PickleError> {
    let bytes = [b"\x80\x04", body].concat();
    Pickle::read(&bytes, 0).map(|pickle| show(&pickle, pickle.root, 5))
}

/// A value in the manner of Python, to some depth.
fn show(pickle: &Pickle<'_>, id: Id, depth: usize) -> String {
    if depth == 0 {
        return "...".to_owned();
    }
    let list = |ids: &[Id]| ids.iter().map(|&id| show(pickle, id, depth - 1)).collect::<Vec<_>>().join(", ");
    let pairs = |pairs: &[(Id, Id)]| {
        let pair =
            |&(key, value)| format!("{}: {}", show(pickle, key, depth - 1), show(pickle, value, depth - 1));
        pairs.iter().map(pair).collect::<Vec<_>>().join(", ")
    };
    match pickle.value(id) {
        Value::None => "None".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Large(range) => format!("int({:02x?})", pickle.raw(range)),
        Value::Text(range) => format!("{:?}", pickle.decode(range)),
        Value::Bytes(range) => format!("b{:?}", pickle.decode(range)),
        Value::List(ids) => format!("[{}]", list(ids)),
        Value::Tuple(ids) => format!("({})", list(ids)),
        Value::Set(ids) => format!("{{{}}}", list(ids)),
        Value::Dict(items) => format!("{{{}}}", pairs(items)),
        Value::Global(module, name) => format!("{}.{}", pickle.decode(module), pickle.decode(name)),
        Value::Persistent(id) => format!("<{}>", show(pickle, *id, depth - 1)),
        Value::Object(object) => {
            let mut out =
                format!("{}{}", show(pickle, object.function, 2), show(pickle, object.arguments, depth));
            if !object.members.is_empty() {
                out += &format!("+[{}]", list(&object.members));
            }
            if !object.items.is_empty() {
                out += &format!("+{{{}}}", pairs(&object.items));
            }
            if let Some(state) = object.state {
                out += &format!("<-{}", show(pickle, state, depth - 1));
            }
            out
        }
    }
}

#[test]
fn values() {
    let cases: &[(&[u8], &str)] = &[
        (b"N.", "None"),
        (b"\x88.", "true"),
        (b"\x89.", "false"),
        (b"K\xff.", "255"),
        (b"M\x01\x02.", "513"),
        (b"J\xfe\xff\xff\xff.", "-2"),
        (b"\x8a\x00.", "0"),
        (b"\x8a\x01\xff.", "-1"),
        (b"\x8a\x02\xff\x00.", "255"),
        (b"\x8a\x08\xff\xff\xff\xff\xff\xff\xff\x7f.", "9223372036854775807"),
        (b"\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00.", "int([00, 00, 00, 00, 00, 00, 00, 80, 00])"),
        (b"\x8b\x01\x00\x00\x00\x07.", "7"),
        (b"G\x3f\xf8\x00\x00\x00\x00\x00\x00.", "1.5"),
        (b"X\x01\x00\x00\x00a.", "\"a\""),
        (b"\x8c\x02\xc3\xbc.", "\"ü\""),
        (b"\x8d\x01\x00\x00\x00\x00\x00\x00\x00a.", "\"a\""),
        (b"U\x01a.", "\"a\""),
        (b"T\x01\x00\x00\x00a.", "\"a\""),
        (b"C\x01a.", "b\"a\""),
        (b"B\x01\x00\x00\x00a.", "b\"a\""),
        (b"\x8e\x01\x00\x00\x00\x00\x00\x00\x00a.", "b\"a\""),
        (b"\x96\x01\x00\x00\x00\x00\x00\x00\x00a.", "b\"a\""),
        (b"].", "[]"),
        (b"]K\x01a.", "[1]"),
        (b"](K\x01K\x02e.", "[1, 2]"),
        (b"(K\x01K\x02l.", "[1, 2]"),
        (b").", "()"),
        (b"K\x01\x85.", "(1)"),
        (b"K\x01N\x86.", "(1, None)"),
        (b"K\x01NN\x87.", "(1, None, None)"),
        (b"(NNNNt.", "(None, None, None, None)"),
        (b"}K\x01Ns.", "{1: None}"),
        (b"}(K\x01NK\x02Nu.", "{1: None, 2: None}"),
        (b"(K\x01Nd.", "{1: None}"),
        (b"\x8f(K\x01\x90.", "{1}"),
        (b"(K\x01\x91.", "{1}"),
        (b"K\x01q\x05h\x05\x86.", "(1, 1)"),
        (b"K\x01r\x00\x01\x00\x00j\x00\x01\x00\x00\x86.", "(1, 1)"),
        (b"K\x01\x94h\x00\x86.", "(1, 1)"),
        (b"K\x012\x86.", "(1, 1)"),
        (b"K\x01N0.", "1"),
        (b"K\x01(NN1.", "1"),
        (b"\x95\x02\x00\x00\x00\x00\x00\x00\x00N.", "None"),
        (b"K\x01Q.", "<1>"),
        (b"cm\nC\n.", "m.C"),
        (b"\x8c\x01m\x8c\x01C\x93.", "m.C"),
        (b"cm\nC\nK\x01\x85R.", "m.C(1)"),
        (b"cm\nC\n)\x81}K\x01Nsb.", "m.C()<-{1: None}"),
        (b"cm\nC\n)}\x92.", "m.C()+[{}]"),
        (b"(K\x01im\nC\n.", "m.C(1)"),
        (b"(cm\nC\nK\x01o.", "m.C(1)"),
        (b"cm\nC\n)R(K\x01Nu.", "m.C()+{1: None}"),
        (b"cm\nC\n)RK\x01a.", "m.C()+[1]"),
        // A list that holds itself.
        (b"]q\x00h\x00a.", "[[[[[...]]]]]"),
    ];
    for (body, expected) in cases {
        assert_eq!(run(body).as_deref(), Ok(*expected), "{}", body.escape_ascii());
    }
}

#[test]
fn every_error_is_named() {
    let hostile = |opcode, at, global: &str| PickleError::Hostile { opcode, at, global: global.to_owned() };
    let not_taken = |opcode, code| PickleError::Opcode { opcode, code, at: 2 };
    let wants = |opcode, at, wanted| PickleError::Operand { opcode, at, wanted };
    let cases: &[(&[u8], PickleError)] = &[
        (b"cos\nsystem\nX\x04\x00\x00\x00true\x85R.", hostile("GLOBAL", 2, "os.system")),
        (b"\x8c\x05posix\x8c\x06system\x93.", hostile("STACK_GLOBAL", 17, "posix.system")),
        (b"(ibuiltins\neval\n.", hostile("INST", 3, "builtins.eval")),
        (b"I1\n.", not_taken("INT", b'I')),
        (b"P1\n.", not_taken("PERSID", b'P')),
        (b"\x82\x01.", not_taken("EXT1", 0x82)),
        (b"\x97.", not_taken("NEXT_BUFFER", 0x97)),
        (b"\xff", not_taken("unknown", 0xff)),
        (b".", PickleError::Underflow { opcode: "STOP", at: 2 }),
        (b"K\x01\x86.", PickleError::Underflow { opcode: "TUPLE2", at: 4 }),
        (b"N(0.", PickleError::Underflow { opcode: "POP", at: 4 }),
        (b"t.", PickleError::Underflow { opcode: "TUPLE", at: 2 }),
        (b"(o.", PickleError::Underflow { opcode: "OBJ", at: 3 }),
        (b"h\x07.", PickleError::Memo { opcode: "BINGET", at: 2, index: 7 }),
        (b"NN.", wants("STOP", 4, "a stack of one value")),
        (b"N(.", PickleError::Underflow { opcode: "STOP", at: 4 }),
        (b"NNb.", wants("BUILD", 4, "an object to give the state to")),
        (b"cm\nC\n)\x81NbNb.", wants("BUILD", 12, "an object without state")),
        (b"NNa.", wants("APPEND", 4, "a collection to add to")),
        (b"}Na.", wants("APPEND", 4, "a collection to add to")),
        (b"}(Nu.", wants("SETITEMS", 5, "as many values as keys")),
        (b"NNR.", wants("REDUCE", 4, "a tuple of arguments")),
        (b"NN\x93.", wants("STACK_GLOBAL", 4, "a module and a name as text")),
        (b"", PickleError::Truncated { opcode: "unknown", at: 2 }),
        (b"K", PickleError::Truncated { opcode: "BININT1", at: 2 }),
        (b"cos", PickleError::Truncated { opcode: "GLOBAL", at: 2 }),
        (b"\x8d\xff\xff\xff\xff\xff\xff\xff\xff", PickleError::Truncated { opcode: "BINUNICODE8", at: 2 }),
        (b"\x8b\xff\xff\xff\xff", PickleError::Truncated { opcode: "LONG4", at: 2 }),
    ];
    for (body, expected) in cases {
        let found = run(body).map_err(|error| match error {
            // At the very end there is no opcode to name; the one before is.
            PickleError::Truncated { at, .. } if body.is_empty() => {
                PickleError::Truncated { opcode: "unknown", at }
            }
            other => other,
        });
        assert_eq!(found.as_ref(), Err(expected), "{}", body.escape_ascii());
    }
    for bytes in [&b""[..], b"\x80", b"\x80\x01N.", b"\x80\x06N.", b"N."] {
        assert_eq!(Pickle::read(bytes, 0).map(drop), Err(PickleError::Protocol { at: 0 }));
    }
}

#[test]
fn long_names_are_not_looked_at() {
    let line = |length| [b"c", &b"m".repeat(length)[..], b"\nC\n."].concat();
    assert!(run(&line(LONGEST_TEXT)).is_ok());
    let wanted = "names of at most 1024 bytes";
    assert_eq!(run(&line(LONGEST_TEXT + 1)), Err(PickleError::Operand { opcode: "GLOBAL", at: 2, wanted }));
    let text = [&b"\x80\x02X\x01\x04\x00\x00"[..], &[b'a'; 1025], b"."].concat();
    let pickle = Pickle::read(&text, 0).unwrap();
    assert_eq!(pickle.text(pickle.root()), None);
}

#[test]
fn opcode_bombs_end() {
    let marks = [b"\x80\x02".to_vec(), vec![b'('; MOST_STEPS + 1]].concat();
    assert_eq!(Pickle::read(&marks, 0).map(drop), Err(PickleError::TooLong { limit: MOST_STEPS }));
    // Each list holds the one before twice: 2^60 paths in a few hundred bytes, which take as many values.
    let mut doubling = b"\x80\x02]q\x00".to_vec();
    for index in 1..60 {
        doubling.extend([b']', b'q', index, b'(', b'h', index - 1, b'h', index - 1, b'e']);
    }
    // All lists but the last are taken from the stack again.
    let mut doubling = [&doubling[..], &b"\x86".repeat(59), b"."].concat();
    let pickle = Pickle::read(&doubling, 0).unwrap();
    assert!(pickle.values().len() < 200);
    doubling.pop();
    assert!(matches!(Pickle::read(&doubling, 0), Err(PickleError::Truncated { .. })));
    let deep = [&b"\x80\x02"[..], &b"]".repeat(100_000), &b"a".repeat(99_999), b"."].concat();
    let pickle = Pickle::read(&deep, 0).unwrap();
    assert_eq!(pickle.values().len(), 100_000);
}

#[test]
fn pickles_follow_each_other() {
    let bytes = b"\x80\x02K\x01.\x80\x02K\x02.";
    let first = Pickle::read(bytes, 0).unwrap();
    let second = Pickle::read(bytes, first.end()).unwrap();
    assert_eq!((first.int(first.root()), second.int(second.root()), second.end()), (Some(1), Some(2), 10));
}
