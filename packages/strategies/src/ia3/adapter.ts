import { mul, reshape, type Tensor } from '@tensorflow/tfjs-core';
import type { AdapterFiles, LanguageModel, LinearSite, PreparedAdapter, Problem } from '@whetstone/core/contract';
import { readFields, shapeProblem, tensorFile, throwProblems } from '../adapters/adapter-files.js';
import { peftPrefix } from '../lora/from-peft.js';
import { modulesOfFields } from '../lora/stored-targets.js';
import { matchesName } from '../lora/targets.js';

/** One layer whose output, or input in feed-forward layers, IA3 scales. */
interface Ia3Layer {
  readonly site: LinearSite;
  readonly scale: Tensor;
  readonly isFeedforward: boolean;
}

/** Reads an IA3 adapter (Liu et al. 2022). @throws `ADAPTER_INVALID` if it does not match the model */
function readIa3Adapter(model: LanguageModel, files: AdapterFiles): Ia3Layer[] {
  const fields = readFields(files);
  const feedforward = fields.stringOrStrings('feedforward_modules') ?? [];
  const isFeedforward = (name: string): boolean =>
    typeof feedforward === 'string' ? new RegExp(`^(?:${feedforward})$`).test(name) : matchesName(name, feedforward);
  const problems: Problem[] = [...fields.problems];
  const layers: Ia3Layer[] = [];
  for (const [key, scale] of files.tensors) {
    const name = key.replace(peftPrefix, '').replace(/\.ia3_l$/, '');
    const site = key.endsWith('.ia3_l') ? model.linearSites.get(name) : undefined;
    if (site === undefined) {
      problems.push({
        message: 'The model lacks this module.',
        place: { file: tensorFile(files.folder), tensor: key },
      });
      continue;
    }
    const scalesInput = isFeedforward(name);
    const problem = shapeProblem(key, scale, scalesInput ? [1, site.inFeatures] : [site.outFeatures, 1], files);
    if (problem === null) layers.push({ site, scale, isFeedforward: scalesInput });
    else problems.push(problem);
  }
  const selected = modulesOfFields(model, {
    targetModules: fields.stringOrStrings('target_modules') ?? [],
    excludeModules: fields.stringOrStrings('exclude_modules'),
    modulesToSave: fields.strings('modules_to_save'),
    layersToTransform: null,
    layersPattern: null,
  });
  const adapted = new Set(layers.map(({ site }) => site.name));
  for (const name of selected ?? [])
    if (!adapted.has(name) && model.linearSites.has(name))
      problems.push({
        message: 'A tensor is missing: the configuration selects this module.',
        place: { file: tensorFile(files.folder), tensor: `${peftPrefix}${name}.ia3_l` },
      });
  for (const name of adapted)
    if (selected !== null && !selected.has(name))
      problems.push({
        message: 'The configuration does not select this module, so that PEFT would ignore its tensors.',
        place: { file: tensorFile(files.folder), tensor: `${peftPrefix}${name}.ia3_l` },
        hint: 'Correct target_modules or exclude_modules in adapter_config.json.',
      });
  throwProblems(problems, files);
  return layers;
}

/** Reads an IA3 adapter for a model. @throws `ADAPTER_INVALID` if it does not match the model */
export function prepareIa3(model: LanguageModel, files: AdapterFiles): PreparedAdapter {
  const layers = readIa3Adapter(model, files);
  return {
    dispose: () => {},
    attach: () => {
      const undo = layers.map(({ site, scale, isFeedforward }) =>
        site.wrap((base) => (input) => {
          const flat = reshape(scale, [-1]);
          return isFeedforward ? base(mul(input, flat)) : mul(base(input), flat);
        }),
      );
      return () => {
        for (const step of undo.reverse()) step();
      };
    },
  };
}

/** Computes the weights merged with IA3. @throws `ADAPTER_INVALID` if it does not match the model */
export function mergeIa3(model: LanguageModel, files: AdapterFiles): Map<string, Tensor> {
  const weights = new Map<string, Tensor>();
  for (const { site, scale, isFeedforward } of readIa3Adapter(model, files)) {
    // In [out, in], output features are on the first axis and input features on the second.
    const onRows = isFeedforward === site.fanInFanOut;
    const flat = reshape(scale, onRows ? [-1, 1] : [1, -1]);
    weights.set(`${site.name}.weight`, mul(site.weight, flat));
    flat.dispose();
    if (site.bias === null || isFeedforward) continue;
    const vector = reshape(scale, [-1]);
    weights.set(`${site.name}.bias`, mul(site.bias, vector));
    vector.dispose();
  }
  return weights;
}
