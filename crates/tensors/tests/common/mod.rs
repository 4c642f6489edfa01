//! Hand-built ONNX messages, by the field numbers of the specification.

#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a helper of tests may fail as a test does")]

use std::path::{Path, PathBuf};

use bitquake_tensors::wire::Writer;
use bitquake_tensors::{TensorFile, TensorsError};
use tempfile::TempDir;

pub const F32: u64 = 1;
pub const U8: u64 = 2;
pub const I8: u64 = 3;
pub const U16: u64 = 4;
pub const I16: u64 = 5;
pub const I32: u64 = 6;
pub const I64: u64 = 7;
pub const U64: u64 = 13;
pub const F8E4M3FN: u64 = 17;
pub const I4: u64 = 22;
pub const F16: u64 = 10;
pub const F64: u64 = 11;
pub const U32: u64 = 12;
pub const BF16: u64 = 16;

/// `TensorProto` without data.
pub fn tensor(name: &str, dtype: u64, dims: &[i64]) -> Writer {
    let mut out = Writer::new();
    dims.iter().for_each(|&dim| {
        out.varint(1, dim as u64);
    });
    out.varint(2, dtype).bytes(8, name.as_bytes());
    out
}

pub fn raw(name: &str, dtype: u64, dims: &[i64], bytes: &[u8]) -> Writer {
    let mut out = tensor(name, dtype, dims);
    out.bytes(9, bytes);
    out
}

pub fn floats(name: &str, values: &[f32]) -> Writer {
    let mut out = tensor(name, F32, &[values.len() as i64]);
    out.packed_floats(4, values);
    out
}

pub fn varints(name: &str, dtype: u64, field: u32, values: &[i64]) -> Writer {
    let mut out = tensor(name, dtype, &[values.len() as i64]);
    out.packed_varints(field, values.iter().map(|&value| value as u64));
    out
}

pub fn external(name: &str, dtype: u64, dims: &[i64], entries: &[(&str, &str)]) -> Writer {
    let mut out = tensor(name, dtype, dims);
    for (key, value) in entries {
        let mut entry = Writer::new();
        entry.bytes(1, key.as_bytes()).bytes(2, value.as_bytes());
        out.message(13, &entry);
    }
    out.varint(14, 1);
    out
}

/// `AttributeProto` of a type, to be filled with its value.
pub fn attribute(name: &str, kind: u64) -> Writer {
    let mut out = Writer::new();
    out.bytes(1, name.as_bytes()).varint(20, kind);
    out
}

pub fn tensor_attribute(name: &str, tensor: &Writer) -> Writer {
    let mut out = attribute(name, 4);
    out.message(5, tensor);
    out
}

pub fn graph_attribute(name: &str, graph: &Writer) -> Writer {
    let mut out = attribute(name, 5);
    out.message(6, graph);
    out
}

pub fn node(op: &str, name: &str, inputs: &[&str], outputs: &[&str], attributes: &[Writer]) -> Writer {
    let mut out = Writer::new();
    inputs.iter().for_each(|input| {
        out.bytes(1, input.as_bytes());
    });
    outputs.iter().for_each(|output| {
        out.bytes(2, output.as_bytes());
    });
    out.bytes(3, name.as_bytes()).bytes(4, op.as_bytes());
    attributes.iter().for_each(|attribute| {
        out.message(5, attribute);
    });
    out
}

pub fn constant(output: &str, tensor: &Writer) -> Writer {
    node("Constant", "", &[], &[output], &[tensor_attribute("value", tensor)])
}

pub fn graph(nodes: &[Writer], initializers: &[Writer]) -> Writer {
    let mut out = Writer::new();
    nodes.iter().for_each(|node| {
        out.message(1, node);
    });
    out.bytes(2, b"g");
    initializers.iter().for_each(|tensor| {
        out.message(5, tensor);
    });
    out
}

/// `ModelProto` of opset 17, with a field that no one knows.
pub fn model(graph: &Writer) -> Vec<u8> {
    model_with(graph, &[])
}

pub fn model_with(graph: &Writer, functions: &[Writer]) -> Vec<u8> {
    let mut opset = Writer::new();
    opset.varint(2, 17);
    let mut out = Writer::new();
    out.varint(1, 8).bytes(2, b"hand").message(7, graph).message(8, &opset).bytes(900, b"unknown");
    functions.iter().for_each(|function| {
        out.message(25, function);
    });
    out.into_bytes()
}

/// A folder with one model in it.
pub struct Saved {
    pub folder: TempDir,
    pub path: PathBuf,
}

impl Saved {
    pub fn new(bytes: &[u8]) -> Saved {
        Saved::named("m.onnx", bytes)
    }

    pub fn named(name: &str, bytes: &[u8]) -> Saved {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        Saved { folder, path }
    }

    pub fn beside(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn open(&self) -> Result<TensorFile, TensorsError> {
        TensorFile::open(&self.path)
    }
}

/// Opens bytes as a model that needs no other file.
pub fn open(bytes: &[u8]) -> Result<TensorFile, TensorsError> {
    Saved::new(bytes).open()
}

/// Saves and reads back the bytes.
pub fn saved(file: &TensorFile) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.bin");
    file.save(&path).unwrap();
    std::fs::read(path).unwrap()
}

pub fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap()
}
