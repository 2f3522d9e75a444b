import { createHash } from 'node:crypto';
import path from 'node:path';
import type { DataSource } from '@whetstone/core/contract';
import { sharedSource } from '../parallel/pass.js';
import { expandFiles } from '../reading/files.js';
import { hashFile } from '../reading/hash-file.js';

/**
 * What decides the conversations of a source, as a hash: the bytes of its files, how they are read, and the transforms
 * with their options and files. Nothing is parsed for it. Null for sources and transforms that do not say what they are
 * made of.
 */
async function sourceKey(source: DataSource): Promise<string | null> {
  const shared = sharedSource(source);
  if (!shared) return null;
  const files: (readonly [file: string, hash: string])[] = [];
  for (const file of source.files) files.push([path.basename(file), await hashFile(file)]);
  const transforms = [];
  for (const { recipe } of shared.transforms) {
    const { baseFolder = '.' } = recipe.argument as { readonly baseFolder?: string };
    const needed =
      recipe.files === undefined || recipe.files.length === 0 ? [] : await expandFiles(recipe.files, baseFolder);
    const hashes: string[] = [];
    for (const file of needed) hashes.push(await hashFile(file));
    transforms.push([recipe.module, recipe.name, recipe.argument, hashes]);
  }
  const parts = shared.files.parts.map(({ files: { length }, options, limit, name }) => [
    length,
    options,
    limit,
    name ?? null,
  ]);
  return createHash('sha256')
    .update(JSON.stringify([files, parts, transforms]))
    .digest('hex');
}

/**
 * The same for any other source: all of it is read, and its contents hashed; columns, too, as balance and curriculum go
 * by them.
 */
async function contentKey(source: DataSource): Promise<string> {
  const hash = createHash('sha256');
  for await (const { form, messages, tools, columns } of source.conversations())
    hash.update(`${JSON.stringify([form, messages, tools ?? null, columns ?? null])}\n`);
  return hash.digest('hex');
}

/** A hash that is the same where a source gives the same conversations. */
export async function keyOfSource(source: DataSource): Promise<string> {
  return (await sourceKey(source)) ?? contentKey(source);
}
