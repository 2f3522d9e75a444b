import { createHash } from 'node:crypto';
import path from 'node:path';
import type { DataSource } from '@whetstone/core/contract';
import { hashFile } from '@whetstone/core/files';
import { stringifyExact } from '@whetstone/core/util';
import { sharedSource } from '../parallel/pass.js';
import { expandFiles } from '../reading/files.js';

/**
 * Hashes the bytes of a source's files, the options for reading them, and its transforms with their options and files.
 * Nothing is parsed. Returns null if the source does not consist of files or a transform has no recipe.
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
  const fileSets = shared.files.fileSets.map(({ files: { length }, options, limit, name }) => [
    length,
    options,
    limit,
    name ?? null,
  ]);
  return createHash('sha256')
    .update(JSON.stringify([files, fileSets, transforms]))
    .digest('hex');
}

/** Hashes all conversations of a source, including their columns, as balance and curriculum depend on these. */
async function contentKey(source: DataSource): Promise<string> {
  const hash = createHash('sha256');
  for await (const { form, messages, tools, templateVariables, columns } of source.conversations())
    hash.update(`${stringifyExact([form, messages, tools ?? null, columns ?? null, templateVariables ?? null])}\n`);
  return hash.digest('hex');
}

/** Returns a hash that is equal for two sources only if they have the same conversations. */
export async function keyOfSource(source: DataSource): Promise<string> {
  return (await sourceKey(source)) ?? contentKey(source);
}
