import validate from 'validate-npm-package-name';
import { CreateError } from './create-error.js';
import type { Kind } from './kinds.js';

/** Names of built-in plugins, which no other plugin of the kind may have. A test compares them with the plugins. */
export const builtInNames: Readonly<Record<Kind, readonly string[]>> = {
  strategy: ['full', 'frozen-layers', 'lora', 'qlora', 'p-tuning-v2', 'ewc', 'replay', 'hard-samples'],
  callback: ['early-stopping', 'gradient-clipping', 'nan-guard', 'repetition-penalty'],
  logger: ['metrics-jsonl', 'console', 'tensorboard'],
  metric: [
    'exact-match',
    'answer-accuracy',
    'classification',
    'token-f1',
    'chrf',
    'bleu',
    'ter',
    'rouge',
    'length',
    'distinct-n',
    'self-bleu',
    'repetition',
    'regex',
    'json-schema',
    'checker',
    'token-likelihood',
    'multiple-choice',
  ],
  optimizer: ['adamw', 'sgd'],
  schedule: [
    'linear',
    'cosine',
    'constant',
    'constant_with_warmup',
    'cosine_with_restarts',
    'cosine_with_min_lr',
    'cosine_warmup_with_min_lr',
    'polynomial',
    'inverse_sqrt',
    'warmup_stable_decay',
  ],
  'data-transform': [
    'normalize-text',
    'quality-filter',
    'redact',
    'deduplicate',
    'decontaminate',
    'topics',
    'augment-synonyms',
    'augment-turns',
    'augment-paraphrase',
  ],
  'data-source': ['conversations', 'mixture'],
  model: ['hugging-face'],
};

/**
 * Checks a name of a package by npm's rules for new packages.
 *
 * @throws `USAGE` with all of npm's reasons
 */
export function checkPackageName(name: string): void {
  const { validForNewPackages, errors = [], warnings = [] } = validate(name);
  if (validForNewPackages) return;
  throw new CreateError('USAGE', 'The name of the package is invalid.', {
    expected: 'a name that npm accepts, such as whetstone-plugin-mine or @me/whetstone-plugin-mine',
    found: JSON.stringify(name),
    hint: `${[...errors, ...warnings].join('; ')}.`,
  });
}

/**
 * Returns the name of the plugin in a package: the last part of the package's name, without `whetstone-plugin-`.
 *
 * @throws `USAGE` if a built-in plugin of this kind has the name
 */
export function pluginNameOf(packageName: string, kind: Kind): string {
  const last = packageName.replace(/^@[^/]*\//, '');
  // The name of a plugin starts with a letter or a digit.
  const name = last.replace(/^whetstone-plugin-(?=\w)/, '').replace(/^\W+/, '') || 'plugin';
  if (!builtInNames[kind].includes(name)) return name;
  throw new CreateError('USAGE', `Whetstone has a built-in ${kind} with the name '${name}'.`, {
    expected: 'a name that no built-in plugin of this kind has',
    found: packageName,
    hint: `Add a word to the name, such as ${packageName}-mine.`,
  });
}

/** Returns the folder of a package: the last part of its name. */
export const folderOf = (packageName: string): string => packageName.replace(/^@[^/]*\//, '');
