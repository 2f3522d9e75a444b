import { brotliDecompressSync, gunzipSync } from 'node:zlib';
import { decompress as unzstd } from 'fzstd';
import { snappyUncompress, type FileMetaData } from 'hyparquet';
import { decompressLz4, decompressLz4Raw } from './lz4.js';

/** Decompresses a page to a known length. The output is never longer. */
export type Decompress = (input: Uint8Array, length: number) => Uint8Array;

const inJavaScript: Decompress = (input, length) => {
  const output = new Uint8Array(length);
  snappyUncompress(input, output);
  return output;
};

/** Loads the decompressor of Snappy: WebAssembly, or JavaScript if no WebAssembly memory can be allocated. */
async function loadSnappy(): Promise<Decompress> {
  const { snappyUncompressor } = await import('hysnappy');
  try {
    return snappyUncompressor();
  } catch {
    return inJavaScript;
  }
}

/** Loads the decompressors of the codecs of a file. WebAssembly is loaded only for a file that needs it. */
export async function loadCodecs({ row_groups: groups }: FileMetaData): Promise<ReadonlyMap<string, Decompress>> {
  const used = new Set(groups.flatMap(({ columns }) => columns.map(({ meta_data: column }) => column?.codec ?? '')));
  const codecs = new Map<string, Decompress>([
    ['UNCOMPRESSED', (input) => input],
    ['GZIP', (input, length) => gunzipSync(input, { maxOutputLength: Math.max(1, length) })],
    ['BROTLI', (input, length) => brotliDecompressSync(input, { maxOutputLength: Math.max(1, length) })],
    ['ZSTD', (input, length) => unzstd(input, new Uint8Array(length))],
    ['LZ4', decompressLz4],
    ['LZ4_RAW', decompressLz4Raw],
  ]);
  if (used.has('SNAPPY')) codecs.set('SNAPPY', await loadSnappy());
  return codecs;
}
