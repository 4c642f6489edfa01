//! The names of the opcodes, and of what no checkpoint has a use for.

/// All opcodes up to protocol 5 by the names that `pickletools` gives them.
const NAMES: &[(u8, &str)] = &[
    (b'I', "INT"),
    (b'J', "BININT"),
    (b'K', "BININT1"),
    (b'M', "BININT2"),
    (b'L', "LONG"),
    (0x8a, "LONG1"),
    (0x8b, "LONG4"),
    (b'S', "STRING"),
    (b'T', "BINSTRING"),
    (b'U', "SHORT_BINSTRING"),
    (b'B', "BINBYTES"),
    (b'C', "SHORT_BINBYTES"),
    (0x8e, "BINBYTES8"),
    (0x96, "BYTEARRAY8"),
    (0x97, "NEXT_BUFFER"),
    (0x98, "READONLY_BUFFER"),
    (b'N', "NONE"),
    (0x88, "NEWTRUE"),
    (0x89, "NEWFALSE"),
    (b'V', "UNICODE"),
    (0x8c, "SHORT_BINUNICODE"),
    (b'X', "BINUNICODE"),
    (0x8d, "BINUNICODE8"),
    (b'F', "FLOAT"),
    (b'G', "BINFLOAT"),
    (b']', "EMPTY_LIST"),
    (b'a', "APPEND"),
    (b'e', "APPENDS"),
    (b'l', "LIST"),
    (b')', "EMPTY_TUPLE"),
    (b't', "TUPLE"),
    (0x85, "TUPLE1"),
    (0x86, "TUPLE2"),
    (0x87, "TUPLE3"),
    (b'}', "EMPTY_DICT"),
    (b'd', "DICT"),
    (b's', "SETITEM"),
    (b'u', "SETITEMS"),
    (0x8f, "EMPTY_SET"),
    (0x90, "ADDITEMS"),
    (0x91, "FROZENSET"),
    (b'0', "POP"),
    (b'2', "DUP"),
    (b'(', "MARK"),
    (b'1', "POP_MARK"),
    (b'g', "GET"),
    (b'h', "BINGET"),
    (b'j', "LONG_BINGET"),
    (b'p', "PUT"),
    (b'q', "BINPUT"),
    (b'r', "LONG_BINPUT"),
    (0x94, "MEMOIZE"),
    (0x82, "EXT1"),
    (0x83, "EXT2"),
    (0x84, "EXT4"),
    (b'c', "GLOBAL"),
    (0x93, "STACK_GLOBAL"),
    (b'R', "REDUCE"),
    (b'b', "BUILD"),
    (b'i', "INST"),
    (b'o', "OBJ"),
    (0x81, "NEWOBJ"),
    (0x92, "NEWOBJ_EX"),
    (0x80, "PROTO"),
    (b'.', "STOP"),
    (0x95, "FRAME"),
    (b'P', "PERSID"),
    (b'Q', "BINPERSID"),
];

/// The name of an opcode; `unknown` if there is none.
pub(super) fn name(code: u8) -> &'static str {
    NAMES.iter().find(|(known, _)| *known == code).map_or("unknown", |(_, name)| name)
}

/// Modules that run programs, touch files or the network, or load code.
const HOSTILE_MODULES: &[&str] = &[
    "asyncio",
    "bdb",
    "code",
    "codeop",
    "commands",
    "ctypes",
    "ftplib",
    "http",
    "imp",
    "importlib",
    "marshal",
    "nt",
    "os",
    "pdb",
    "popen2",
    "posix",
    "posixpath",
    "profile",
    "pty",
    "requests",
    "runpy",
    "shutil",
    "site",
    "smtplib",
    "socket",
    "subprocess",
    "sys",
    "telnetlib",
    "tempfile",
    "timeit",
    "urllib",
    "urllib2",
    "webbrowser",
    "zipimport",
];

/// The same among the functions that need no import.
const HOSTILE_BUILTINS: &[&str] = &[
    "__import__",
    "breakpoint",
    "compile",
    "delattr",
    "eval",
    "exec",
    "execfile",
    "globals",
    "input",
    "open",
    "setattr",
];

/// Whether no checkpoint has a use for a global. Safety does not rest on this list: nothing is ever called.
pub(super) fn is_hostile(module: &str, name: &str) -> bool {
    let package = module.split('.').next().unwrap_or_default();
    match package {
        "builtins" | "__builtin__" => HOSTILE_BUILTINS.contains(&name),
        _ => HOSTILE_MODULES.contains(&package),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_opcode_has_one_name() {
        assert_eq!(NAMES.len(), 68);
        for (code, label) in NAMES {
            assert_eq!(name(*code), *label);
            assert_eq!(NAMES.iter().filter(|(_, other)| other == label).count(), 1);
        }
        assert_eq!(name(0xff), "unknown");
    }

    #[test]
    fn what_is_hostile() {
        for (module, name) in
            [("os", "system"), ("posix", "system"), ("builtins", "eval"), ("os.path", "join")]
        {
            assert!(is_hostile(module, name), "{module}.{name}");
        }
        for (module, name) in [("collections", "OrderedDict"), ("builtins", "getattr"), ("operating", "x")] {
            assert!(!is_hostile(module, name), "{module}.{name}");
        }
    }
}
