import { library } from './library.js';
import type { DecoderConfig } from './tokenizer-files.js';
import { byteCharacters } from './word-encoder.js';

/** One step of decoding: maps texts of tokens to texts. */
type DecodeStep = (tokens: string[]) => string[];

const byteOf = new Map(byteCharacters.map((character, byte) => [character, byte]));
const utf8Encoder = new TextEncoder();
const lenientUtf8 = new TextDecoder('utf-8', { ignoreBOM: true });
const strictUtf8 = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Creates a function that joins the texts of tokens as tokenizer.json describes. Bytes are decoded here because the
 * library starts anew at every added token, replaces invalid bytes differently from Hugging Face's reference, and
 * always removes spaces before punctuation.
 */
export function createDecoder(config: DecoderConfig | null): (tokens: string[]) => string {
  if (config === null) return (tokens) => tokens.join(' ');
  const steps = flatten(config).map(createStep);
  return (tokens) => steps.reduce((texts, step) => step(texts), tokens).join('');
}

function flatten(config: DecoderConfig): DecoderConfig[] {
  return config.type === 'Sequence' ? (config['decoders'] as readonly DecoderConfig[]).flatMap(flatten) : [config];
}

function createStep(config: DecoderConfig): DecodeStep {
  if (config.type === 'ByteLevel') return (tokens) => [lenientUtf8.decode(Uint8Array.from(tokens.flatMap(tokenBytes)))];
  if (config.type === 'ByteFallback') return byteFallback;
  const sequence = new library.SequenceDecoder({ type: 'Sequence', decoders: [config] });
  return (tokens) => sequence.decode_chain(tokens);
}

/** Returns the bytes that the characters of a token represent; the UTF-8 bytes of a token with other characters. */
function tokenBytes(token: string): number[] {
  const bytes: number[] = [];
  for (const character of token) {
    const byte = byteOf.get(character);
    if (byte === undefined) return Array.from(utf8Encoder.encode(token));
    bytes.push(byte);
  }
  return bytes;
}

/** Decodes sequences of `<0xNN>` as UTF-8; invalid sequences become one replacement character per byte. */
function byteFallback(tokens: string[]): string[] {
  const texts: string[] = [];
  let bytes: number[] = [];
  const flush = (): void => {
    if (bytes.length === 0) return;
    try {
      texts.push(strictUtf8.decode(Uint8Array.from(bytes)));
    } catch {
      texts.push('\ufffd'.repeat(bytes.length));
    }
    bytes = [];
  };
  for (const token of tokens) {
    const hex = /^<0x([0-9a-fA-F]{2})>$/.exec(token)?.[1];
    if (hex !== undefined) {
      bytes.push(Number.parseInt(hex, 16));
    } else {
      flush();
      texts.push(token);
    }
  }
  flush();
  return texts;
}
