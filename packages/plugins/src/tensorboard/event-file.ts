/** TensorBoard's event files: protocol buffers of `tensorflow.Event`, framed as TFRecords. Only what scalars need. */

const crcTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit += 1) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value;
});

/** CRC-32C (Castagnoli), as RFC 3720 has it. */
export function crc32c(bytes: Uint8Array): number {
  let value = 0xffffffff;
  for (const byte of bytes) value = (crcTable[(value ^ byte) & 0xff] ?? 0) ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

/**
 * TFRecord stores checksums rotated by 15 bits plus a constant, so that a checksum of data that holds checksums stays
 * one.
 */
const masked = (bytes: Uint8Array): number => {
  const crc = crc32c(bytes);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
};

/** One record: length, its checksum, the data, its checksum; little-endian. */
export function frameRecord(data: Uint8Array): Buffer {
  const record = Buffer.alloc(12 + data.length + 4);
  record.writeBigUInt64LE(BigInt(data.length), 0);
  record.writeUInt32LE(masked(record.subarray(0, 8)), 8);
  record.set(data, 12);
  record.writeUInt32LE(masked(data), 12 + data.length);
  return record;
}

/** Base 128, seven bits a byte, the lowest first. */
function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = BigInt(value);
  do {
    const low = Number(rest & 0x7fn);
    rest >>= 7n;
    bytes.push(rest > 0n ? low | 0x80 : low);
  } while (rest > 0n);
  return Buffer.from(bytes);
}

const wireTypes = { varint: 0, fixed64: 1, lengthDelimited: 2, fixed32: 5 } as const;
const key = (field: number, type: keyof typeof wireTypes): Buffer => varint((field << 3) | wireTypes[type]);

const integerField = (field: number, value: number): Buffer => Buffer.concat([key(field, 'varint'), varint(value)]);
const bytesField = (field: number, value: Uint8Array): Buffer =>
  Buffer.concat([key(field, 'lengthDelimited'), varint(value.length), value]);
function doubleField(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(8);
  bytes.writeDoubleLE(value);
  return Buffer.concat([key(field, 'fixed64'), bytes]);
}
function floatField(field: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeFloatLE(value);
  return Buffer.concat([key(field, 'fixed32'), bytes]);
}

/** What one event tells. `seconds`: wall time since 1970. */
export type TensorBoardEvent = { readonly seconds: number; readonly step: number } & (
  | { readonly kind: 'version' }
  /** The run begins, or goes on, before this step: what older files say of it and later ones is void. */
  | { readonly kind: 'start' }
  | { readonly kind: 'scalars'; readonly scalars: Readonly<Record<string, number>> }
);

/**
 * `tensorflow.Event`: wall_time 1, step 2, file_version 3, summary 5 of values 1 {tag 1, simple_value 2}, session_log 7
 * {status 1}.
 */
export function encodeEvent(event: TensorBoardEvent): Buffer {
  const head = Buffer.concat([doubleField(1, event.seconds), integerField(2, event.step)]);
  if (event.kind === 'version') return Buffer.concat([head, bytesField(3, Buffer.from('brain.Event:2'))]);
  if (event.kind === 'start') return Buffer.concat([head, bytesField(7, integerField(1, 1))]);
  const values = Object.entries(event.scalars).map(([tag, value]) =>
    bytesField(1, Buffer.concat([bytesField(1, Buffer.from(tag)), floatField(2, value)])),
  );
  return Buffer.concat([head, bytesField(5, Buffer.concat(values))]);
}
