//! Arguments and results of effects, and what a program waits for. Bounded in size and depth.

use serde::{Deserialize, Serialize};
use wallet::digest::Digest;

use super::refusal::ContinuationRefusal;
use crate::stream::StreamRef;

/// The longest text or byte string.
const STRING_BYTES_MAX: usize = 1024;
/// The most nodes of a value or a tree of waits.
const NODES_MAX: usize = 256;
/// How deep they can be nested.
const DEPTH_MAX: usize = 4;

/// An argument or result of an effect.
///
/// There are no closures: no program needs one yet, and a form that does can append a kind.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<ValueNode>", into = "Vec<ValueNode>")]
pub enum Value {
    /// Nothing.
    Nil,
    /// True or false.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// The bits of an IEEE 754 binary32.
    F32(u32),
    /// The bits of an IEEE 754 binary64.
    F64(u64),
    /// At most 1,024 bytes.
    Bytes(Vec<u8>),
    /// A text of at most 1,024 bytes.
    Text(String),
    /// A hash.
    Hash(Digest),
    /// A range of a stream.
    Stream(StreamRef),
    /// The result of the effect with this number.
    Effect(u32),
    /// Values, at most four levels deep and 256 in all.
    Tuple(Vec<Value>),
}

/// What a program waits for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<WaitNode>", into = "Vec<WaitNode>")]
pub enum WaitTree {
    /// The effect with this number.
    One(u32),
    /// Any of these.
    First(Vec<WaitTree>),
    /// All of these.
    All(Vec<WaitTree>),
}

/// A value in preorder: the encoding does not nest, so that decoding it cannot exhaust the stack.
#[derive(Clone, Serialize, Deserialize)]
enum ValueNode {
    Nil,
    Bool(bool),
    Int(i64),
    F32(u32),
    F64(u64),
    Bytes(#[serde(with = "wallet::codec::bytes")] Vec<u8>),
    Text(String),
    Hash(Digest),
    Stream(StreamRef),
    Effect(u32),
    /// So many of the following values.
    Tuple(u16),
}

#[derive(Clone, Serialize, Deserialize)]
enum WaitNode {
    One(u32),
    First(u16),
    All(u16),
}

impl Value {
    /// Checks the bounds, which decoding checks too.
    ///
    /// # Errors
    /// [`ContinuationRefusal::ValueOutOfBounds`].
    pub fn validate(&self) -> Result<(), ContinuationRefusal> {
        let mut nodes = 0;
        self.within(0, &mut nodes)
    }

    fn within(&self, depth: usize, nodes: &mut usize) -> Result<(), ContinuationRefusal> {
        count(depth, nodes)?;
        match self {
            Self::Bytes(bytes) if bytes.len() > STRING_BYTES_MAX => Err(out_of_bounds("a byte string")),
            Self::Text(text) if text.len() > STRING_BYTES_MAX => Err(out_of_bounds("a text")),
            Self::Tuple(values) => values.iter().try_for_each(|value| value.within(depth + 1, nodes)),
            _ => Ok(()),
        }
    }

    fn flatten(self, nodes: &mut Vec<ValueNode>) {
        nodes.push(match self {
            Self::Nil => ValueNode::Nil,
            Self::Bool(bool) => ValueNode::Bool(bool),
            Self::Int(int) => ValueNode::Int(int),
            Self::F32(bits) => ValueNode::F32(bits),
            Self::F64(bits) => ValueNode::F64(bits),
            Self::Bytes(bytes) => ValueNode::Bytes(bytes),
            Self::Text(text) => ValueNode::Text(text),
            Self::Hash(hash) => ValueNode::Hash(hash),
            Self::Stream(stream) => ValueNode::Stream(stream),
            Self::Effect(seq) => ValueNode::Effect(seq),
            Self::Tuple(values) => {
                nodes.push(ValueNode::Tuple(values.len() as u16));
                values.into_iter().for_each(|value| value.flatten(nodes));
                return;
            }
        });
    }

    fn build(nodes: &mut impl Iterator<Item = ValueNode>, depth: usize) -> Result<Self, ContinuationRefusal> {
        if depth > DEPTH_MAX {
            return Err(out_of_bounds("nested too deep"));
        }
        Ok(match nodes.next().ok_or(out_of_bounds("it ends too early"))? {
            ValueNode::Nil => Self::Nil,
            ValueNode::Bool(bool) => Self::Bool(bool),
            ValueNode::Int(int) => Self::Int(int),
            ValueNode::F32(bits) => Self::F32(bits),
            ValueNode::F64(bits) => Self::F64(bits),
            ValueNode::Bytes(bytes) => Self::Bytes(bytes),
            ValueNode::Text(text) => Self::Text(text),
            ValueNode::Hash(hash) => Self::Hash(hash),
            ValueNode::Stream(stream) => Self::Stream(stream),
            ValueNode::Effect(seq) => Self::Effect(seq),
            ValueNode::Tuple(count) => {
                Self::Tuple((0..count).map(|_| Self::build(nodes, depth + 1)).collect::<Result<_, _>>()?)
            }
        })
    }
}

impl TryFrom<Vec<ValueNode>> for Value {
    type Error = ContinuationRefusal;

    fn try_from(nodes: Vec<ValueNode>) -> Result<Self, ContinuationRefusal> {
        let mut nodes = nodes.into_iter();
        let value = Self::build(&mut nodes, 0)?;
        if nodes.next().is_some() {
            return Err(out_of_bounds("it goes on after its end"));
        }
        value.validate()?;
        Ok(value)
    }
}

impl From<Value> for Vec<ValueNode> {
    fn from(value: Value) -> Self {
        let mut nodes = Self::new();
        value.flatten(&mut nodes);
        nodes
    }
}

impl WaitTree {
    /// Checks the bounds, which decoding checks too.
    ///
    /// # Errors
    /// [`ContinuationRefusal::ValueOutOfBounds`].
    pub fn validate(&self) -> Result<(), ContinuationRefusal> {
        let mut nodes = 0;
        self.within(0, &mut nodes)
    }

    /// Whether the wait is over when the effects with these numbers are done.
    pub fn is_over(&self, done: &dyn Fn(u32) -> bool) -> bool {
        match self {
            Self::One(seq) => done(*seq),
            Self::First(trees) => trees.iter().any(|tree| tree.is_over(done)),
            Self::All(trees) => trees.iter().all(|tree| tree.is_over(done)),
        }
    }

    fn within(&self, depth: usize, nodes: &mut usize) -> Result<(), ContinuationRefusal> {
        count(depth, nodes)?;
        match self {
            Self::One(_) => Ok(()),
            Self::First(trees) | Self::All(trees) => trees.iter().try_for_each(|tree| tree.within(depth + 1, nodes)),
        }
    }

    fn flatten(self, nodes: &mut Vec<WaitNode>) {
        let (node, trees) = match self {
            Self::One(seq) => (WaitNode::One(seq), Vec::new()),
            Self::First(trees) => (WaitNode::First(trees.len() as u16), trees),
            Self::All(trees) => (WaitNode::All(trees.len() as u16), trees),
        };
        nodes.push(node);
        trees.into_iter().for_each(|tree| tree.flatten(nodes));
    }

    fn build(nodes: &mut impl Iterator<Item = WaitNode>, depth: usize) -> Result<Self, ContinuationRefusal> {
        if depth > DEPTH_MAX {
            return Err(out_of_bounds("nested too deep"));
        }
        let (any, count) = match nodes.next().ok_or(out_of_bounds("it ends too early"))? {
            WaitNode::One(seq) => return Ok(Self::One(seq)),
            WaitNode::First(count) => (true, count),
            WaitNode::All(count) => (false, count),
        };
        let trees = (0..count).map(|_| Self::build(nodes, depth + 1)).collect::<Result<_, _>>()?;
        Ok(if any { Self::First(trees) } else { Self::All(trees) })
    }
}

impl TryFrom<Vec<WaitNode>> for WaitTree {
    type Error = ContinuationRefusal;

    fn try_from(nodes: Vec<WaitNode>) -> Result<Self, ContinuationRefusal> {
        let mut nodes = nodes.into_iter();
        let tree = Self::build(&mut nodes, 0)?;
        if nodes.next().is_some() {
            return Err(out_of_bounds("it goes on after its end"));
        }
        tree.validate()?;
        Ok(tree)
    }
}

impl From<WaitTree> for Vec<WaitNode> {
    fn from(tree: WaitTree) -> Self {
        let mut nodes = Self::new();
        tree.flatten(&mut nodes);
        nodes
    }
}

fn count(depth: usize, nodes: &mut usize) -> Result<(), ContinuationRefusal> {
    *nodes += 1;
    if depth > DEPTH_MAX {
        return Err(out_of_bounds("nested too deep"));
    }
    if *nodes > NODES_MAX {
        return Err(out_of_bounds("too many nodes"));
    }
    Ok(())
}

const fn out_of_bounds(reason: &'static str) -> ContinuationRefusal {
    ContinuationRefusal::ValueOutOfBounds { reason }
}

#[cfg(test)]
mod tests;
