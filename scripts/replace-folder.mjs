// Replaces the path of a folder in the files of a run, so that they do not name a folder of the machine they were made
// on. Used by scripts/make-version-fixtures.mjs.
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

/**
 * Replaces a path in all files of a folder. Headers of safetensors files and the hashes of manifests stay valid.
 *
 * @param {string} folder
 * @param {string} path As the files contain it; as JSON escapes it is found as well
 * @param {string} replacement Not longer than the path
 */
export function replaceFolder(folder, path, replacement) {
  const replace = (text) =>
    text.replaceAll(JSON.stringify(path).slice(1, -1), replacement).replaceAll(path, replacement);
  const files = readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
  for (const file of files) {
    const bytes = readFileSync(file);
    const changed = file.endsWith('.safetensors') ? inHeader(bytes, replace) : Buffer.from(replace(bytes.toString()));
    if (!changed.equals(bytes)) writeFileSync(file, changed);
  }
  for (const file of files) if (basename(file) === 'manifest.json') updateManifest(file);
}

/** A safetensors file with other metadata: the header's length in 8 bytes, then the header, padded with spaces. */
function inHeader(bytes, replace) {
  const end = 8 + Number(bytes.readBigUInt64LE());
  const text = replace(bytes.toString('utf8', 8, end));
  // The tensors stay where they are, aligned as they were written.
  const header = Buffer.from(text.trimEnd().padEnd(end - 8, ' '));
  if (8 + header.length !== end) throw new Error('Expected a replacement that is not longer than the path.');
  return Buffer.concat([bytes.subarray(0, 8), header, bytes.subarray(end)]);
}

/** Lists the files of a checkpoint again, as they are now. */
function updateManifest(file) {
  const manifest = JSON.parse(readFileSync(file, 'utf8'));
  for (const name of Object.keys(manifest.files)) {
    const bytes = readFileSync(join(dirname(file), name));
    manifest.files[name] = { bytes: bytes.length, sha256: createHash('sha256').update(bytes).digest('hex') };
  }
  writeFileSync(file, `${JSON.stringify(manifest, null, 2)}\n`);
}
