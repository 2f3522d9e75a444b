import { resolve } from 'node:path';
import { asCreateError, CreateError } from './create-error.js';
import { KINDS } from './kinds.js';
import { LANGUAGES } from './language.js';
import { checkPackageName, folderOf, pluginNameOf } from './names.js';
import { filesOf, type PluginChoices } from './package-files.js';
import { checkFree, writeFolder } from './write-folder.js';

/** A plugin that was created. */
export interface CreatedPlugin {
  /** The absolute path of its folder. */
  readonly folder: string;
  /** The paths of its files in the folder. */
  readonly files: readonly string[];
}

/**
 * Writes a package with a plugin into a new folder, named after the last part of the package's name. Errors are of the
 * class {@link CreateError}.
 *
 * @param parent the folder in which the new one is made
 * @throws `USAGE` if the name, the kind or the language is invalid
 * @throws `OUTPUT_EXISTS` if the folder exists and is not empty
 * @throws `FILE_UNWRITABLE`, `DISK_FULL` or `TOO_MANY_FILES` if the folder cannot be written
 */
export function createPlugin(choices: PluginChoices, parent: string): CreatedPlugin {
  const { name, kind, language } = choices;
  checkName(name, parent);
  checkChoice('kind', kind, KINDS);
  checkChoice('language', language, LANGUAGES);
  const files = filesOf(choices, pluginNameOf(name, kind));
  const folder = resolve(parent, folderOf(name));
  try {
    writeFolder(folder, files);
  } catch (cause) {
    throw asCreateError(cause, 'The folder of the package', folder);
  }
  return { folder, files: [...files.keys()] };
}

/**
 * Checks that a package of this name can be created.
 *
 * @throws `USAGE` if npm refuses the name
 * @throws `OUTPUT_EXISTS` if its folder exists and is not empty
 * @throws `FILE_UNWRITABLE` or `TOO_MANY_FILES` if its folder cannot be used
 */
export function checkName(name: string, parent: string): void {
  checkPackageName(name);
  const folder = resolve(parent, folderOf(name));
  try {
    checkFree(folder);
  } catch (cause) {
    throw asCreateError(cause, 'The folder of the package', folder);
  }
}

/** @throws `USAGE` if a value is not one of the choices */
export function checkChoice<T extends string>(what: string, value: string, choices: readonly T[]): asserts value is T {
  if (choices.some((choice) => choice === value)) return;
  const similar = choices.find((choice) => choice.includes(value) || value.includes(choice));
  throw new CreateError('USAGE', `The ${what} '${value}' was not found.`, {
    expected: choices.join(', '),
    found: JSON.stringify(value),
    hint: similar === undefined || value === '' ? undefined : `Did you mean '${similar}'?`,
  });
}
