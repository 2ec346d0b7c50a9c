//! One picture file: a quick look at its header, and its pixels.
//!
//! What becomes of each kind, following torchvision's `pil_loader` unless said:
//! - palettes are looked up, gray stays gray; alpha is dropped, not composited;
//! - 16 bits a channel are rounded to 8 (Pillow cuts them);
//! - CMYK and YCCK JPEG become RGB;
//! - of an animation, the first frame counts;
//! - the EXIF orientation is applied (Pillow leaves it to the caller): a photograph is seen as it was taken.
//!
//! The kind is told by the content, not by the name.

use super::image::Image;
use crate::{Error, Result};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};
use std::cell::RefCell;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// No decoder may need more memory for one picture: 89 million RGB pixels, the size from which Pillow warns of a bomb.
const MAX_MEMORY: u64 = 256 << 20;
/// No picture file is longer.
const MAX_FILE: u64 = 512 << 20;

/// What a picture's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub height: u32,
    pub width: u32,
    /// False if the file can hold only gray.
    pub colour: bool,
}

/// Reads a picture's header and its last bytes. If either is not as the format prescribes, decodes the whole file, so a
/// file that was cut short is found here, while whole files cost two short reads each.
pub fn inspect(path: &Path) -> Result<Header> {
    let io_err = |e| Error::io(path, e);
    let mut file = File::open(path).map_err(io_err)?;
    let len = file.metadata().map_err(io_err)?.len();
    if let Ok(Some(header)) = quick_look(&mut file, len) {
        check_size(header.height, header.width).map_err(|what| Error::data(path, what))?;
        return Ok(header);
    }
    let mut image = Image::default();
    read(path, &mut image)?;
    let size = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Ok(Header { height: size(image.height), width: size(image.width), colour: image.channels == 3 })
}

/// Decodes the picture at `path` into `into`, with 1 channel if the file is gray, else 3.
pub fn read(path: &Path, into: &mut Image) -> Result<()> {
    thread_local!(static BYTES: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) });
    let io_err = |e| Error::io(path, e);
    let file = File::open(path).map_err(io_err)?;
    let len = file.metadata().map_err(io_err)?.len();
    if len > MAX_FILE {
        return Err(Error::data(path, format!("{len} bytes, longer than a picture may be ({MAX_FILE})")));
    }
    BYTES.with_borrow_mut(|bytes| {
        bytes.clear();
        file.take(MAX_FILE).read_to_end(bytes).map_err(io_err)?;
        decode(bytes, into).map_err(|what| Error::data(path, what))
    })
}

/// Decodes the bytes of a picture file. The error says what is wrong with them.
pub fn decode(bytes: &[u8], into: &mut Image) -> Result<(), String> {
    if bytes.is_empty() {
        return Err("the file is empty".to_owned());
    }
    // Should a decoder panic on some corrupt file, that file is bad; the run goes on.
    catch_unwind(AssertUnwindSafe(|| decode_unguarded(bytes, into)))
        .unwrap_or_else(|_| Err("decoder failed".to_owned()))
}

fn decode_unguarded(bytes: &[u8], into: &mut Image) -> Result<(), String> {
    let text = |e: image::ImageError| e.to_string();
    let mut reader = ImageReader::new(Cursor::new(bytes)).with_guessed_format().map_err(|e| e.to_string())?;
    let format = reader.format().ok_or("not a picture (PNG, JPEG, WebP, BMP, GIF)")?;
    if format == ImageFormat::Jpeg && !jpeg_is_complete(bytes) {
        // The decoder would fill what is missing with gray.
        return Err("JPEG data is cut short".to_owned());
    }
    reader.limits(limits());
    let mut decoder = reader.into_decoder().map_err(text)?;
    let (width, height) = decoder.dimensions();
    check_size(height, width)?;
    if decoder.total_bytes() > MAX_MEMORY {
        return Err(format!("{width} x {height} pixels are more than a picture may have"));
    }
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let mut image = DynamicImage::from_decoder(decoder).map_err(text)?;
    image.apply_orientation(orientation);
    let shape = |channels| [image.height() as usize, image.width() as usize, channels];
    match &image {
        DynamicImage::ImageLuma8(gray) => into.set(shape(1), gray),
        DynamicImage::ImageRgb8(rgb) => into.set(shape(3), rgb),
        other if other.color().has_color() => into.set(shape(3), &other.to_rgb8()),
        other => into.set(shape(1), &other.to_luma8()),
    }
    Ok(())
}

/// The header, if this is a picture of a kind we know that ends as its kind should.
fn quick_look(file: &mut File, len: u64) -> io::Result<Option<Header>> {
    let mut start = [0; 16];
    let got = file.take(16).read(&mut start)?;
    let Ok(format) = image::guess_format(&start[..got]) else { return Ok(None) };
    let mut tail = [0; 12];
    file.seek(SeekFrom::End(-(len.min(12) as i64)))?;
    file.read_exact(&mut tail[12 - len.min(12) as usize..])?;
    let claimed =
        |at: usize| u64::from(u32::from_le_bytes([start[at], start[at + 1], start[at + 2], start[at + 3]]));
    let whole = match format {
        ImageFormat::Png => tail == *b"\0\0\0\0IEND\xaeB\x60\x82",
        ImageFormat::Jpeg => tail.ends_with(&[0xff, 0xd9]),
        ImageFormat::Gif => tail[11] == b';',
        ImageFormat::WebP => claimed(4) + 8 <= len,
        ImageFormat::Bmp => claimed(2) == len,
        _ => false,
    };
    if !whole {
        return Ok(None);
    }
    file.seek(SeekFrom::Start(0))?;
    let mut reader = BufReader::new(file);
    if format == ImageFormat::Jpeg {
        // The image crate reads the whole file to learn the size of a JPEG.
        return jpeg_header(&mut reader);
    }
    let mut reader = ImageReader::with_format(reader, format);
    reader.limits(limits());
    let header = reader.into_decoder().map(|mut decoder| {
        let (width, height) = decoder.dimensions();
        let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
        oriented(height, width, decoder.color_type().has_color(), orientation)
    });
    Ok(header.ok())
}

/// Walks a JPEG's segments to its frame header (ITU-T T.81, B.1.1 and B.2.2), picking up the orientation on the way.
fn jpeg_header(reader: &mut (impl BufRead + Seek)) -> io::Result<Option<Header>> {
    let mut orientation = Orientation::NoTransforms;
    reader.seek_relative(2)?;
    loop {
        let mut head = [0; 4];
        reader.read_exact(&mut head)?;
        let [0xff, marker, high, low] = head else { return Ok(None) };
        let Some(len) = u16::from_be_bytes([high, low]).checked_sub(2) else { return Ok(None) };
        match marker {
            // Baseline, extended, progressive: what decoders know. Others are decoded at once, to see.
            0xc0..=0xc2 => {
                let mut frame = [0; 6];
                reader.read_exact(&mut frame)?;
                let [8, h1, h0, w1, w0, components @ (1 | 3 | 4)] = frame else { return Ok(None) };
                let (height, width) = (u16::from_be_bytes([h1, h0]), u16::from_be_bytes([w1, w0]));
                return Ok(Some(oriented(height.into(), width.into(), components > 1, orientation)));
            }
            0xe1 => {
                let mut segment = vec![0; len.into()];
                reader.read_exact(&mut segment)?;
                if let Some(exif) = segment.strip_prefix(b"Exif\0\0") {
                    orientation = Orientation::from_exif_chunk(exif).unwrap_or(orientation);
                }
            }
            0xc4 | 0xcc | 0xdb | 0xdd | 0xe0 | 0xe2..=0xef | 0xfe => reader.seek_relative(len.into())?,
            _ => return Ok(None),
        }
    }
}

/// True if the last scan of a JPEG is followed by the end-of-image marker. Coded data never contains these markers.
fn jpeg_is_complete(bytes: &[u8]) -> bool {
    let last = |marker: [u8; 2]| bytes.windows(2).rposition(|pair| pair == marker);
    last([0xff, 0xd9]) > last([0xff, 0xda])
}

fn oriented(height: u32, width: u32, colour: bool, orientation: Orientation) -> Header {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    let turned = matches!(orientation, Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH);
    let (height, width) = if turned { (width, height) } else { (height, width) };
    Header { height, width, colour }
}

fn check_size(height: u32, width: u32) -> Result<(), String> {
    if height == 0 || width == 0 {
        return Err(format!("no pixels ({width} x {height})"));
    }
    if u64::from(height) * u64::from(width) > MAX_MEMORY {
        return Err(format!("{width} x {height} pixels are more than a picture may have"));
    }
    Ok(())
}

fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_alloc = Some(MAX_MEMORY);
    limits
}
