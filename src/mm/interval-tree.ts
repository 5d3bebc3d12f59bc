import { need } from "../../arch/x86/cpu/argument.ts";
import { whole } from "../../arch/x86/cpu/argument-kinds.ts";

interface Node<T> {
  readonly start: number;
  readonly last: number;
  readonly value: T;
  subtreeLast: number;
  height: number;
  left: Node<T> | null;
  right: Node<T> | null;
}

/**
 * A balanced tree of closed intervals, each node knowing the largest end below it (lib/interval_tree.c and
 * include/linux/interval_tree_generic.h; here an AVL tree). Intervals with equal starts keep their order of
 * insertion, later ones to the right: mremap's choice of locks depends on it.
 */
export class IntervalTree<T> {
  #root: Node<T> | null = null;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Adds [start, last]. Throws RangeError if last < start. */
  insert(start: number, last: number, value: T): void {
    checkInterval(start, last);
    this.#root = insertAt(this.#root, leaf(start, last, value));
    this.#size++;
  }

  /**
   * Adds an interval with the same start as one that is there, directly after it: fork's vma follows its parent's
   * (vma_interval_tree_insert_after). Throws TypeError if nothing was inserted with that start and value.
   */
  insertAfter(previous: T, start: number, last: number, value: T): void {
    checkInterval(start, last);
    const root = insertAfterAt(this.#root, leaf(start, last, value), previous);
    if (root === null)
      throw new TypeError(`no interval that starts at ${start} has the value to insert after`);
    this.#root = root;
    this.#size++;
  }

  /** Removes the interval that was inserted with this value and start; returns whether there was one. */
  remove(start: number, value: T): boolean {
    const before = this.#size;
    this.#root = this.#removeAt(this.#root, start, value);
    return this.#size < before;
  }

  /** Values whose interval meets [start, last], in tree order. */
  overlapping(start: number, last: number): T[] {
    checkInterval(start, last);
    const found: T[] = [];
    collect(this.#root, start, last, found);
    return found;
  }

  #removeAt(node: Node<T> | null, start: number, value: T): Node<T> | null {
    if (node === null) return null;
    if (node.value === value && node.start === start) {
      this.#size--;
      if (node.left === null) return node.right;
      if (node.right === null) return node.left;
      const [least, rest] = takeLeast(node.right);
      least.left = node.left;
      least.right = rest;
      return balance(least);
    }
    const before = this.#size;
    // Equal starts lie on both sides after rotations, so an equal key may need both.
    if (start <= node.start) node.left = this.#removeAt(node.left, start, value);
    if (this.#size === before && start >= node.start) node.right = this.#removeAt(node.right, start, value);
    return balance(node);
  }
}

const EDGE = whole("edge of an interval", Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);

function checkInterval(start: number, last: number): void {
  if (!Number.isSafeInteger(start)) need(EDGE, start);
  if (!Number.isSafeInteger(last)) need(EDGE, last);
  if (last < start)
    throw new RangeError(`interval [${start}, ${last}]: its last must not be below its start`);
}

function leaf<T>(start: number, last: number, value: T): Node<T> {
  return { start, last, value, subtreeLast: last, height: 1, left: null, right: null };
}

function collect<T>(node: Node<T> | null, start: number, last: number, found: T[]): void {
  if (node === null || node.subtreeLast < start) return;
  collect(node.left, start, last, found);
  if (node.start > last) return;
  if (node.last >= start) found.push(node.value);
  collect(node.right, start, last, found);
}

function insertAt<T>(node: Node<T> | null, added: Node<T>): Node<T> {
  if (node === null) return added;
  if (added.start < node.start) node.left = insertAt(node.left, added);
  else node.right = insertAt(node.right, added);
  return balance(node);
}

/** The subtree with `added` right after `previous`; null if that is not in it. */
function insertAfterAt<T>(node: Node<T> | null, added: Node<T>, previous: T): Node<T> | null {
  if (node === null) return null;
  if (node.value === previous && node.start === added.start) {
    node.right = insertLeast(node.right, added);
    return balance(node);
  }
  const left = added.start <= node.start ? insertAfterAt(node.left, added, previous) : null;
  if (left !== null) node.left = left;
  else {
    const right = added.start >= node.start ? insertAfterAt(node.right, added, previous) : null;
    if (right === null) return null;
    node.right = right;
  }
  return balance(node);
}

function insertLeast<T>(node: Node<T> | null, added: Node<T>): Node<T> {
  if (node === null) return added;
  node.left = insertLeast(node.left, added);
  return balance(node);
}

function takeLeast<T>(node: Node<T>): [Node<T>, Node<T> | null] {
  if (node.left === null) return [node, node.right];
  const [least, rest] = takeLeast(node.left);
  node.left = rest;
  return [least, balance(node)];
}

function heightOf<T>(node: Node<T> | null): number {
  return node === null ? 0 : node.height;
}

function update<T>(node: Node<T>): void {
  node.height = 1 + Math.max(heightOf(node.left), heightOf(node.right));
  let last = node.last;
  if (node.left !== null && node.left.subtreeLast > last) last = node.left.subtreeLast;
  if (node.right !== null && node.right.subtreeLast > last) last = node.right.subtreeLast;
  node.subtreeLast = last;
}

function rotateRight<T>(node: Node<T>): Node<T> {
  const top = node.left!;
  node.left = top.right;
  top.right = node;
  update(node);
  update(top);
  return top;
}

function rotateLeft<T>(node: Node<T>): Node<T> {
  const top = node.right!;
  node.right = top.left;
  top.left = node;
  update(node);
  update(top);
  return top;
}

function balance<T>(node: Node<T>): Node<T> {
  update(node);
  const tilt = heightOf(node.left) - heightOf(node.right);
  if (tilt > 1) {
    if (heightOf(node.left!.left) < heightOf(node.left!.right)) node.left = rotateLeft(node.left!);
    return rotateRight(node);
  }
  if (tilt < -1) {
    if (heightOf(node.right!.right) < heightOf(node.right!.left)) node.right = rotateRight(node.right!);
    return rotateLeft(node);
  }
  return node;
}
