import type { TensorReader } from './read.js';

/** Names that wrappers of a model insert into the names of its tensors when it is saved. */
const wrappers = new Set([
  '_orig_mod',
  'module',
  '_fsdp_wrapped_module',
  '_checkpoint_wrapped_module',
  '_forward_module',
]);

/**
 * Returns a reader without the names of wrappers that a save left in the names of tensors: torch.compile
 * (`_orig_mod.`), data parallelism (`module.`), FSDP and checkpointing. A name stays as it is if the file also contains
 * the shorter name.
 *
 * @param owner whose tensors they are, for the message
 * @param onNotice receives a message that names what was removed
 */
export function withoutWrappers(
  reader: TensorReader,
  onNotice: (message: string) => void,
  owner: 'model' | 'adapter' = 'model',
): TensorReader {
  const storedNames = new Map<string, string>();
  const removed = new Set<string>();
  for (const name of reader.tensors.keys()) {
    const segments = name.split('.');
    const short = segments.filter((segment) => !wrappers.has(segment)).join('.');
    const isTaken = short !== name && (reader.tensors.has(short) || storedNames.has(short));
    storedNames.set(isTaken ? name : short, name);
    if (!isTaken) for (const segment of segments) if (wrappers.has(segment)) removed.add(`${segment}.`);
  }
  if (removed.size === 0) return reader;
  onNotice(
    `The names of the ${owner}'s tensors contain ${[...removed].join(' and ')}, which a wrapper of the model adds ` +
      'when it is saved. They are read without it.',
  );
  return renamed(reader, storedNames);
}

/**
 * Returns a reader without a prefix that the names of all tensors share: that of a module which contains the model,
 * such as `model.` of a LightningModule (`model.model.layers…`). Reads the names as they are if some of them are
 * expected, or if a tensor lies outside of that module.
 *
 * @param expected names of tensors of the model
 * @param onNotice receives a message that names the prefix
 */
export function withoutPrefix(
  reader: TensorReader,
  expected: readonly string[],
  onNotice: (message: string) => void,
): TensorReader {
  const stored = [...reader.tensors.keys()];
  if (expected.some((name) => reader.tensors.has(name))) return reader;
  const prefix = prefixOf(stored, expected);
  if (prefix === '' || !stored.every((name) => name.startsWith(prefix))) return reader;
  onNotice(
    `The names of all tensors of the model start with ${prefix}, the name of a module that contained the model when ` +
      'it was saved. They are read without it.',
  );
  return renamed(reader, new Map(stored.map((name) => [name.slice(prefix.length), name])));
}

/** What PEFT puts before the name of a module. */
const peftPrefix = 'base_model.model.';

/**
 * Returns a reader in which PEFT's prefix of the tensors of an adapter is the first part of their names, and occurs
 * once: it is repeated if an adapted model was wrapped again, and not the first if another module contained it.
 *
 * @param onNotice receives a message that names what was removed
 */
export function withOnePeftPrefix(reader: TensorReader, onNotice: (message: string) => void): TensorReader {
  const storedNames = new Map<string, string>();
  const removed = new Set<string>();
  for (const name of reader.tensors.keys()) {
    const start = Math.max(0, name.lastIndexOf(peftPrefix));
    const short = name.slice(start);
    const isTaken = start > 0 && (reader.tensors.has(short) || storedNames.has(short));
    storedNames.set(isTaken ? name : short, name);
    if (!isTaken && start > 0) removed.add(name.slice(0, start));
  }
  if (removed.size === 0) return reader;
  onNotice(
    `The names of the adapter's tensors start with ${[...removed].join(' and ')} before ${peftPrefix}, as if the ` +
      'adapted model was contained in another module. They are read without it.',
  );
  return renamed(reader, storedNames);
}

/** Returns what stands before the first expected name with which a stored name ends; empty if there is none. */
function prefixOf(stored: readonly string[], expected: readonly string[]): string {
  for (const name of expected) {
    const found = stored.find((one) => one.endsWith(`.${name}`));
    if (found !== undefined) return found.slice(0, -name.length);
  }
  return '';
}

/** Returns a reader of tensors under other names. `storedNames`: the name in the file, by the other name. */
function renamed(reader: TensorReader, storedNames: ReadonlyMap<string, string>): TensorReader {
  const stored = (name: string): string => storedNames.get(name) ?? name;
  return {
    ...reader,
    tensors: new Map(
      [...storedNames].flatMap(([short, name]) => {
        const entry = reader.tensors.get(name);
        return entry === undefined ? [] : [[short, { ...entry, name: short }] as const];
      }),
    ),
    fileOf: (name) => reader.fileOf(stored(name)),
    readFloat32: async (name) => reader.readFloat32(stored(name)),
    readFloat32Into: async (name, target) => reader.readFloat32Into(stored(name), target),
    readBytesInto: async (name, target) => reader.readBytesInto(stored(name), target),
    read: async (name) => reader.read(stored(name)),
  };
}
