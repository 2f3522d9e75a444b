// A reporter of knip that says what to do about each kind of issue that was found.

/** @type {Readonly<Record<string, string>>} */
const advice = {
  files: 'Unused file: delete it, or import it.',
  dependencies: 'Unused dependency: remove it from package.json.',
  devDependencies: 'Unused development dependency: remove it from package.json.',
  unlisted: 'Unlisted dependency: add it, with its exact version, to the package.json of the package that imports it.',
  unresolved: 'Unresolved import: correct the path, or add the subpath to `exports` of the package.',
  binaries: 'Unlisted command: add the package that provides it to package.json.',
  exports: 'Unused export: remove `export`, or delete the declaration if its own file does not use it either.',
  types: 'Unused exported type: remove `export`, or delete the type if its own file does not use it either.',
  duplicates: 'Exported twice: keep one of the names.',
};

/** @param {import('knip').ReporterOptions} options */
export default function explainUnused({ counters }) {
  const lines = Object.entries(advice).flatMap(([kind, line]) => (counters[kind] > 0 ? [`- ${line}`] : []));
  if (lines.length > 0) console.error(['', 'What to do:', ...lines].join('\n'));
}
