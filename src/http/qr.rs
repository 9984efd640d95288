//! A QR code as a picture or as text, and which of them a client wants.

use std::str::FromStr;

use qrcode::render::{svg, unicode};
use qrcode::{Color, EcLevel, QrCode};

use crate::domain::error::{Error, Result};

/// Pixels of one module in the PNG.
const SCALE: usize = 8;

/// Light modules around the code; scanners need four.
const QUIET: usize = 4;

/// How a QR code is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    /// What the code says.
    Json,
    /// A picture.
    Png,
    /// A scalable picture.
    Svg,
    /// Blocks, for a terminal.
    Text,
}

impl Format {
    const ALL: [Self; 4] = [Self::Json, Self::Png, Self::Svg, Self::Text];

    /// Its media type.
    pub(super) fn media_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Png => "image/png",
            Self::Svg => "image/svg+xml",
            Self::Text => "text/plain; charset=utf-8",
        }
    }

    /// The one that an `Accept` header likes best; of equals the first named, of anything JSON.
    pub(super) fn accepted(accept: &str) -> Option<Self> {
        let mut best = None;
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let name = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality = parts.find_map(|part| part.strip_prefix("q=")?.parse::<f32>().ok()).unwrap_or(1.0);
            let format = match name.as_str() {
                "*/*" | "application/*" => Some(Self::Json),
                "image/*" => Some(Self::Png),
                "text/*" => Some(Self::Text),
                name => {
                    Self::ALL.into_iter().find(|format| format.media_type().split(';').next() == Some(name))
                }
            };
            if let Some(format) = format
                && quality > best.map_or(0.0, |(_, quality)| quality)
            {
                best = Some((format, quality));
            }
        }
        best.map(|(format, _)| format)
    }
}

impl FromStr for Format {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        match text {
            "json" => Ok(Self::Json),
            "png" => Ok(Self::Png),
            "svg" => Ok(Self::Svg),
            "text" => Ok(Self::Text),
            _ => Err(Error::invalid("format", "unknown_format", "must be json, png, svg or text")),
        }
    }
}

fn code(text: &str) -> Result<QrCode> {
    QrCode::with_error_correction_level(text, EcLevel::L).map_err(Error::bug)
}

/// As a PNG of one bit per pixel.
pub(super) fn png(text: &str) -> Result<Vec<u8>> {
    let code = code(text)?;
    let side = (code.width() + 2 * QUIET) * SCALE;
    let modules = code.to_colors();
    let dark = |x: usize, y: usize| {
        let (x, y) = ((x / SCALE).checked_sub(QUIET), (y / SCALE).checked_sub(QUIET));
        let (Some(x), Some(y)) = (x, y) else { return false };
        x < code.width() && y < code.width() && modules.get(y * code.width() + x) == Some(&Color::Dark)
    };
    let mut rows = Vec::with_capacity(side * side.div_ceil(8));
    for y in 0..side {
        for first in (0..side).step_by(8) {
            let byte = (0..8).fold(0_u8, |byte, bit| {
                let light = first + bit < side && !dark(first + bit, y);
                (byte << 1) | u8::from(light)
            });
            rows.push(byte);
        }
    }
    let side = u32::try_from(side).map_err(Error::bug)?;
    let mut bytes = Vec::new();
    let mut encoder = png::Encoder::new(&mut bytes, side, side);
    encoder.set_color(png::ColorType::Grayscale);
    encoder.set_depth(png::BitDepth::One);
    let mut writer = encoder.write_header().map_err(Error::bug)?;
    writer.write_image_data(&rows).map_err(Error::bug)?;
    writer.finish().map_err(Error::bug)?;
    Ok(bytes)
}

/// As an SVG.
pub(super) fn svg(text: &str) -> Result<String> {
    Ok(code(text)?.render::<svg::Color<'_>>().min_dimensions(256, 256).build())
}

/// As blocks for a terminal: light modules are drawn, so that it scans on a dark background.
pub(super) fn text(text: &str) -> Result<String> {
    let code = code(text)?;
    let mut blocks = code
        .render::<unicode::Dense1x2>()
        .dark_color(unicode::Dense1x2::Light)
        .light_color(unicode::Dense1x2::Dark)
        .build();
    blocks.push('\n');
    Ok(blocks)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODE: &str = "https://wa.me/settings/linked_devices#2@AbC,dEf,gHi,jKl";

    #[test]
    fn accept_chooses_by_quality_and_a_browser_sees_something() {
        for (accept, format) in [
            ("*/*", Some(Format::Json)),
            ("image/png", Some(Format::Png)),
            ("text/plain;q=0.5, image/svg+xml", Some(Format::Svg)),
            ("image/avif,image/webp,image/svg+xml,image/*;q=0.8,*/*;q=0.5", Some(Format::Svg)),
            ("text/html,*/*;q=0.8", Some(Format::Json)),
            ("text/plain", Some(Format::Text)),
            ("text/html", None),
            ("image/png;q=0", None),
        ] {
            assert_eq!(Format::accepted(accept), format, "{accept}");
        }
    }

    #[test]
    fn the_picture_shows_each_module_with_a_quiet_zone() {
        let bytes = png(CODE).unwrap();
        let mut reader = png::Decoder::new(std::io::Cursor::new(bytes)).read_info().unwrap();
        let mut pixels = vec![0; reader.output_buffer_size().unwrap()];
        let info = reader.next_frame(&mut pixels).unwrap();
        let qr = code(CODE).unwrap();
        let side = (qr.width() + 2 * QUIET) * SCALE;
        assert_eq!((info.width as usize, info.height as usize), (side, side));
        let light = |x: usize, y: usize| pixels[y * info.line_size + x / 8] >> (7 - x % 8) & 1 == 1;
        for y in 0..qr.width() + 2 * QUIET {
            for x in 0..qr.width() + 2 * QUIET {
                let inside =
                    (QUIET..QUIET + qr.width()).contains(&x) && (QUIET..QUIET + qr.width()).contains(&y);
                let dark = inside && qr[(x - QUIET, y - QUIET)] == Color::Dark;
                assert_eq!(light(x * SCALE + SCALE / 2, y * SCALE + SCALE / 2), !dark, "{x},{y}");
            }
        }
    }

    #[test]
    fn the_other_forms_are_what_they_say() {
        assert!(svg(CODE).unwrap().contains("<svg"));
        let text = text(CODE).unwrap();
        let width = code(CODE).unwrap().width() + 2 * QUIET;
        assert!(text.lines().all(|line| line.chars().count() == width), "one character per column");
        assert_eq!(text.lines().count(), width.div_ceil(2));
        assert!(text.starts_with('█'), "the quiet zone is drawn");
    }
}
