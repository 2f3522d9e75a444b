import { createRequire } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Json, Recipe } from '@whetstone/core/contract';

/**
 * Returns a recipe with which a worker thread recreates a tokenizer or renderer; undefined if this package is not
 * built.
 */
export function recipeFor(
  name: 'remakeTokenizer' | 'remakeRenderer',
  argument: { readonly folder: string; readonly [key: string]: Json },
): Recipe | undefined {
  try {
    const module = pathToFileURL(createRequire(import.meta.url).resolve('@whetstone/models/tokenizing')).href;
    return { module, name, argument: { ...argument, folder: resolve(argument.folder) } };
  } catch {
    return undefined;
  }
}
