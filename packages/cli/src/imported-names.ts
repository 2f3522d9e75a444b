import type { ConfigDefaults } from '@whetstone/core';
import type { Json } from '@whetstone/core/contract';
import { isRecord } from '@whetstone/core/util';

type ImportedNames = NonNullable<ConfigDefaults['importedNames']>;

const clipping = (maxNorm: Json) => ({ use: 'gradient-clipping', options: { maxNorm } });
const asked = (value: Json): boolean => value === true;
const isDefault = { ignored: 'it is a default' } as const;

/** Returns a key of a configuration. */
const keyOf = (config: unknown, key: string): unknown => (isRecord(config) ? config[key] : undefined);

/** Returns the name of the configured strategy; undefined without one. */
function strategyOf(config: unknown): unknown {
  const strategy = keyOf(config, 'strategy');
  return isRecord(strategy) ? strategy['use'] : strategy;
}

const writeStrategy = (use: string, options?: object): { readonly hint: string } => ({
  hint: `Write ${
    options === undefined
      ? `"strategy": "${use}"`
      : `"strategy": { "use": "${use}", "options": ${JSON.stringify(options)} }`
  }.`,
});

/** Returns the strategy for weights in 4 or 8 bits. TRL trains such a model only with an adapter. */
const quantised =
  (quantType: 'nf4' | 'int8'): ImportedNames[string] =>
  (value, { config }) => {
    if (!asked(value)) return isDefault;
    const strategy = strategyOf(config);
    const options = keyOf(keyOf(config, 'strategy'), 'options');
    if (strategy !== undefined && strategy !== 'qlora')
      return writeStrategy('qlora', { quantType, ...(isRecord(options) ? options : {}) });
    if (strategy === 'qlora' && quantType === 'nf4') return isDefault;
    // `use_peft` sets the strategy first.
    if (strategy === undefined && keyOf(config, 'use_peft') === true) return undefined;
    return [
      ...(strategy === undefined ? [{ path: 'strategy.use', value: 'qlora' }] : []),
      // 4 bits with bnb_4bit_quant_type is set by that field.
      ...(quantType === 'int8' ? [{ path: 'strategy.options.quantType', value: quantType }] : []),
    ];
  };

const reportTo: ImportedNames[string] = (value, { config }) => {
  const names = (Array.isArray(value) ? value : [value]).filter((name) => name !== 'none' && name !== null);
  if (names.length === 0) return isDefault;
  if (names.some((name) => name !== 'tensorboard'))
    return { hint: 'Write "loggers": ["metrics-jsonl", "tensorboard"], or name the package of another logger.' };
  const loggers = keyOf(config, 'loggers') === undefined ? ['metrics-jsonl', 'tensorboard'] : ['tensorboard'];
  return loggers.map((use) => ({ path: 'loggers+', value: { use, options: {} } }));
};

/** Returns a hint with the data source that reads a column of texts. */
const textField: ImportedNames[string] = (value, { config }) => {
  if (value === 'text' || value === null) return isDefault;
  const train = keyOf(keyOf(config, 'data'), 'train');
  const path = typeof train === 'string' || Array.isArray(train) ? train : 'train.jsonl';
  const source = { use: 'conversations', options: { path, columns: { text: value } } };
  return { hint: `Write "data": { "train": ${JSON.stringify(source)} }.` };
};

/** Fields of TRL and transformers that mean a plugin of this package. */
export const importedNames: ImportedNames = {
  // 0 turns clipping off, which is on by default.
  max_grad_norm: (value, { config }) => {
    if (value !== null && value !== 0) return { path: 'callbacks+', value: clipping(value) };
    const hasCallbacks = ['callbacks', 'early_stopping_patience'].some((key) => keyOf(config, key) !== undefined);
    return hasCallbacks ? isDefault : { path: 'callbacks', value: [] };
  },
  early_stopping_patience: (value, { config }) => [
    // The default callbacks stay, unless another field replaces them.
    ...(keyOf(config, 'callbacks') === undefined && keyOf(config, 'max_grad_norm') === undefined
      ? [{ path: 'callbacks+', value: clipping(1) }]
      : []),
    { path: 'callbacks+', value: { use: 'early-stopping', options: { patience: value } } },
  ],
  early_stopping_threshold: (value) =>
    value === 0 || value === null
      ? isDefault
      : {
          hint: `Write "callbacks": ${JSON.stringify([{ use: 'early-stopping', options: { threshold: value } }])}.`,
        },
  use_peft: (value, { config }) => {
    const strategy = strategyOf(config);
    const isQuantised = ['load_in_4bit', 'load_in_8bit'].some((key) => keyOf(config, key) === true);
    const use = asked(value) ? (isQuantised ? 'qlora' : 'lora') : 'full';
    if (strategy === undefined) return { path: 'strategy.use', value: use };
    const hasAdapter = strategy !== 'full' && strategy !== 'frozen-layers';
    return hasAdapter === asked(value) || value === null ? isDefault : writeStrategy(use);
  },
  load_in_4bit: quantised('nf4'),
  load_in_8bit: quantised('int8'),
  report_to: reportTo,
  dataset_text_field: textField,
};
