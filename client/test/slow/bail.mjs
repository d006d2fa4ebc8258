// A reporter that ends the run at the first failure: a mutant needs no second one.
export default async function* bail(events) {
  for await (const event of events) if (event.type === "test:fail") process.exit(1);
}
