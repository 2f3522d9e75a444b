import type { Problem } from '../contract/errors.js';
import type { LinearSiteOutline, ModelOutline } from '../contract/model.js';
import { boundedPattern, compilePython, isRecord, matchesName, sortKeys } from '../util/index.js';

/** What the export of an adapter is compared with. */
export type ExportedModel = Pick<
  ModelOutline,
  'hiddenSize' | 'layers' | 'parameters' | 'linearSites' | 'attentionSites'
>;

export type Fields = Readonly<Record<string, unknown>>;

/** An adapter that a strategy exports. */
export interface Exported {
  readonly config: Fields;
  readonly tensors: ReadonlyMap<string, { readonly shape: readonly number[] }>;
}

/** The prefix of keys in PEFT's files. */
export const PREFIX = 'base_model.model.';
/** The place of the tensors, for problems. */
export const inTensors = 'exportAdapter().tensors';

/** Returns the key of a tensor without PEFT's prefix. */
export const pathOf = (key: string): string => (key.startsWith(PREFIX) ? key.slice(PREFIX.length) : key);

/** Compares the shapes of the tensors of LoRA and IA3 with the configuration and the model. */
export function shapeProblems(model: ExportedModel, exported: Exported): readonly Problem[] {
  switch (exported.config['peft_type']) {
    case 'LORA':
      return [...orderProblems(model, exported), ...loraShapes(model, exported), ...magnitudeProblems(exported)];
    case 'IA3':
      return ia3Shapes(model, exported);
    default:
      return [];
  }
}

const wrongShape = (key: string, expected: readonly unknown[], found: readonly number[], reason: string): Problem => ({
  message: `The shape of a tensor differs from ${reason}.`,
  place: { path: inTensors, tensor: key },
  expected: `[${expected.join(', ')}]`,
  found: `[${found.join(', ')}]`,
});

/** The name of a low-rank matrix: module, A or B. */
const matrixName = /^(.*)\.lora_(embedding_)?([AB])(?:\.weight)?$/;

/** Returns a function that returns the value of the first pattern that matches a module, as PEFT finds it. */
function byPattern(patterns: Fields): (module: string) => unknown {
  const compiled = Object.entries(patterns).map(([key, value]) => ({
    pattern: boundedPattern(compilePython(`^(.*\\.)?(${key})$`)),
    value,
  }));
  return (module) => compiled.find(({ pattern }) => pattern.test(module))?.value;
}

const patternsOf = (config: Fields, field: 'rank_pattern' | 'alpha_pattern'): Fields => {
  const written = config[field];
  return isRecord(written) ? written : {};
};

/** Returns a problem if another pattern decides for a module in the file, whose keys are sorted. */
function orderProblems(model: ExportedModel, { config }: Exported): readonly Problem[] {
  return (['rank_pattern', 'alpha_pattern'] as const).flatMap((field): readonly Problem[] => {
    const patterns = patternsOf(config, field);
    const [given, written] = [byPattern(patterns), byPattern(sortKeys(patterns))];
    const module = [...model.linearSites.keys()].find((name) => given(name) !== written(name));
    if (module === undefined) return [];
    return [
      {
        message: `Several patterns of ${field} match ${module}, and in the file, with sorted keys, another is first.`,
        place: { path: `exportAdapter().config.${field}` },
        expected: 'patterns that do not depend on their order',
        found: Object.keys(patterns).join(', '),
      },
    ];
  });
}

/** Compares low-rank matrices with r, rank_pattern and the sizes of their layer. */
function loraShapes(model: ExportedModel, { config, tensors }: Exported): readonly Problem[] {
  const patternRank = byPattern(patternsOf(config, 'rank_pattern'));
  const rankOf = (module: string): unknown => patternRank(module) ?? config['r'] ?? 8;
  return [...tensors].flatMap(([key, { shape }]): readonly Problem[] => {
    const [, module, embedding, matrix] = matrixName.exec(pathOf(key)) ?? [];
    const sizes = module === undefined ? null : sizesOf(model, module, embedding !== undefined);
    if (module === undefined || sizes === null) return [];
    const rank = rankOf(module);
    const expected = matrix === 'A' ? [rank, sizes.in] : [sizes.out, rank];
    return expected.join() === shape.join()
      ? []
      : [wrongShape(key, expected, shape, 'r and rank_pattern of the configuration, or from the layer')];
  });
}

/** Returns the sizes that a layer, or a table such as the embedding, has for its low-rank matrices. */
function sizesOf(
  { linearSites, parameters }: ExportedModel,
  module: string,
  isEmbedding: boolean,
): { readonly in: number; readonly out: number } | null {
  const site = linearSites.get(module);
  if (site !== undefined && !isEmbedding) return { in: site.inFeatures, out: site.outFeatures };
  const [rows, width] = parameters.get(`${module}.weight`)?.shape ?? [];
  return rows === undefined || width === undefined ? null : { in: rows, out: width };
}

/** Compares the magnitudes of DoRA with use_dora. */
function magnitudeProblems({ config, tensors }: Exported): readonly Problem[] {
  const usesDora = config['use_dora'] === true;
  return [...tensors.keys()].flatMap((key): readonly Problem[] => {
    const [, module, , matrix] = matrixName.exec(pathOf(key)) ?? [];
    const magnitudes = `${PREFIX}${module ?? ''}.lora_magnitude_vector`;
    if (matrix !== 'A' || usesDora === tensors.has(magnitudes)) return [];
    return [
      {
        message: usesDora ? 'The magnitudes of DoRA are missing.' : 'The magnitudes of DoRA need use_dora.',
        place: { path: inTensors, tensor: magnitudes },
      },
    ];
  });
}

/** Compares the vectors of IA3 with feedforward_modules: they scale the input of these modules, and else the output. */
function ia3Shapes({ linearSites }: ExportedModel, { config, tensors }: Exported): readonly Problem[] {
  const feedforward = config['feedforward_modules'];
  const pattern = typeof feedforward === 'string' ? boundedPattern(compilePython(`^(?:${feedforward})$`)) : null;
  const scalesInput = (module: string): boolean =>
    pattern !== null
      ? pattern.test(module)
      : Array.isArray(feedforward) && matchesName(module, feedforward as string[]);
  return [...tensors].flatMap(([key, { shape }]): readonly Problem[] => {
    const module = pathOf(key).replace(/\.ia3_l$/, '');
    const site: LinearSiteOutline | undefined = linearSites.get(module);
    if (site === undefined) return [];
    const expected = scalesInput(module) ? [1, site.inFeatures] : [site.outFeatures, 1];
    return expected.join() === shape.join()
      ? []
      : [wrongShape(key, expected, shape, 'feedforward_modules of the configuration, or from the layer')];
  });
}
