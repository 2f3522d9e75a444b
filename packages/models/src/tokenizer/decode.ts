import { library } from './library.js';
import type { DecoderConfig } from './tokenizer-files.js';
import { byteCharacters } from './word-encoder.js';

/** One stage of decoding: texts of tokens to texts that are nearer to what a person reads. */
type Stage = (tokens: string[]) => string[];

const byteOf = new Map(byteCharacters.map((character, byte) => [character, byte]));
const utf8 = new TextEncoder();
const toText = new TextDecoder('utf-8', { ignoreBOM: true });
const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Joins the texts of tokens as the tokenizer's file describes it. Bytes are decoded here and not by the library, which
 * resets at every added token, replaces broken bytes otherwise than Hugging Face's reference and cleans up spaces
 * unasked.
 */
export function createDecoder(config: DecoderConfig | null): (tokens: string[]) => string {
  if (config === null) return (tokens) => tokens.join(' ');
  const stages = flatten(config).map(createStage);
  return (tokens) => stages.reduce((texts, stage) => stage(texts), tokens).join('');
}

function flatten(config: DecoderConfig): DecoderConfig[] {
  return config.type === 'Sequence' ? (config['decoders'] as readonly DecoderConfig[]).flatMap(flatten) : [config];
}

function createStage(config: DecoderConfig): Stage {
  if (config.type === 'ByteLevel') return (tokens) => [toText.decode(Uint8Array.from(tokens.flatMap(bytesOf)))];
  if (config.type === 'ByteFallback') return byteFallback;
  const sequence = new library.SequenceDecoder({ type: 'Sequence', decoders: [config] });
  return (tokens) => sequence.decode_chain(tokens);
}

/** The bytes that a token's characters stand for; a token with other characters is text of its own. */
function bytesOf(token: string): number[] {
  const bytes: number[] = [];
  for (const character of token) {
    const byte = byteOf.get(character);
    if (byte === undefined) return Array.from(utf8.encode(token));
    bytes.push(byte);
  }
  return bytes;
}

/** Runs of `<0xNN>` become the text they spell, or one replacement character a byte where they spell none. */
function byteFallback(tokens: string[]): string[] {
  const texts: string[] = [];
  let bytes: number[] = [];
  const flush = (): void => {
    if (bytes.length === 0) return;
    try {
      texts.push(strict.decode(Uint8Array.from(bytes)));
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
