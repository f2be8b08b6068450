//! Datagrams, frames and the messages in them.

use bytes::{Bytes, BytesMut};
use rumormill::id::ClusterId;
use rumormill::unstable::crdt::sketch::{Difference, EXPONENT_MAX, Shape, Sketch};
use rumormill::unstable::wire::codec::{self, CodecLimits, Decoded};
use rumormill::unstable::wire::envelope::Envelope;
use rumormill::unstable::wire::frame::{FrameError, FrameReader};
use rumormill::unstable::wire::{Cells, Message};

/// The envelope of the cluster that the seeds belong to.
pub fn envelope() -> Envelope {
    Envelope::of(&ClusterId::new("fuzz").expect("a short id is valid"))
}

/// Small, so that the limit is met.
pub const FRAME_BYTES_MAX: usize = 4096;

/// Any datagram is refused or taken apart, and what was taken comes back as it was.
pub fn datagram(data: &[u8]) {
    let mut bytes = Bytes::copy_from_slice(data);
    // As it is: refused, but for the seeds.
    let _ = envelope().open(&mut bytes);
    // As somebody would send it who computes the check: no fuzzer finds a 32-bit hash by chance.
    let inside = envelope().messages(data);
    let mut bytes = envelope().seal(|out| out.extend_from_slice(inside));
    envelope().open(&mut bytes).expect("its own check");
    messages(bytes);
}

/// Any stream gives the same frames however it is cut, and every frame is refused or taken apart.
/// The first byte of `data` says how to cut.
pub fn frame(data: &[u8]) {
    let Some((cut, stream)) = data.split_first() else {
        return;
    };
    let whole = frames([stream]);
    let step = usize::from(*cut) % 32 + 1;
    assert_eq!(frames(stream.chunks(step)), whole, "cut every {step} bytes");
    let ragged = frames(stream.chunk_by(|a, b| a ^ b ^ cut != 0));
    assert_eq!(ragged, whole, "cut where neighbours differ by {cut}");
    for frame in whole.0 {
        messages(frame);
    }
}

fn frames<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (Vec<Bytes>, Result<bool, FrameError>) {
    let mut reader = FrameReader::new(FRAME_BYTES_MAX);
    let mut frames = Vec::new();
    for piece in pieces {
        reader.feed(piece);
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Err(error)),
            }
        }
    }
    (frames, Ok(reader.is_between_frames()))
}

fn messages(mut bytes: Bytes) {
    while !bytes.is_empty() {
        let before = bytes.len();
        match codec::decode(&mut bytes, &CodecLimits::default()) {
            Ok(Decoded::Message(message)) => {
                if let Message::Cells(cells) = &message {
                    come_apart(cells);
                }
                comes_back(message);
            }
            Ok(Decoded::Unknown { .. }) => {}
            Err(_) => return,
        }
        assert!(bytes.len() < before, "a message takes bytes");
    }
}

/// Any cells give at most as many items as there are cells, each once, or none: as first cells and
/// as those that extend others.
pub fn come_apart(cells: &Cells) {
    let Some(shape) = Shape::new(cells.exponent, cells.width) else {
        return;
    };
    // Ours has nothing; the largest takes long to make and is met seldom.
    let exponent = (shape.needs() + 1).min(EXPONENT_MAX);
    let ours = Sketch::new(exponent);
    let zeros = ours.cells(shape).expect("it is large enough");
    let mut extended = Difference::new(&ours, shape, &zeros).expect("its own cells");
    let _ = extended.extend(&ours, &cells.cells);
    let whole = Difference::new(&ours, shape, &cells.cells);
    assert_eq!(whole.is_some(), cells.cells.len() == shape.cells());
    for difference in whole.iter().chain([&extended]) {
        let Some(items) = difference.peel() else {
            continue;
        };
        assert!(items.len() <= difference.shape().cells());
        assert!(items.is_sorted_by(|a, b| a < b), "each once");
    }
}

/// What was decoded encodes to bytes that decode to the same; not to the same bytes, since a
/// number may be written longer than it needs to be.
fn comes_back(message: Message) {
    let mut out = BytesMut::new();
    codec::encode(&message, &mut out);
    assert_eq!(codec::encoded_len(&message), out.len());
    let mut bytes = out.freeze();
    let again = codec::decode(&mut bytes, &CodecLimits::default());
    assert_eq!(again, Ok(Decoded::Message(message)));
    assert!(bytes.is_empty());
}
