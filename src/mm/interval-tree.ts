import { need } from "../../arch/x86/cpu/argument.ts";
import { whole } from "../../arch/x86/cpu/argument-kinds.ts";

/** A closed interval in a tree, with what was inserted for it. */
export class IntervalNode<T> {
  readonly start: number;
  readonly last: number;
  readonly value: T;
  /** The largest end in its subtree. */
  subtreeLast: number;
  height = 1;
  parent: IntervalNode<T> | null = null;
  left: IntervalNode<T> | null = null;
  right: IntervalNode<T> | null = null;
  /** Another one that was inserted with the same value, with another start or the same. */
  namesake: IntervalNode<T> | null = null;

  constructor(start: number, last: number, value: T) {
    checkInterval(start, last);
    this.start = start;
    this.last = last;
    this.value = value;
    this.subtreeLast = last;
  }
}

const EDGE = whole("edge of an interval", Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER);

function checkInterval(start: number, last: number): void {
  if (!Number.isSafeInteger(start)) need(EDGE, start);
  if (!Number.isSafeInteger(last)) need(EDGE, last);
  if (last < start) {
    throw new RangeError(`interval [${start}, ${last}]: its last must not be below its start`);
  }
}

/**
 * A balanced tree of closed intervals, each node knowing the largest end below it (lib/interval_tree.c and
 * include/linux/interval_tree_generic.h; here an AVL tree). Intervals with equal starts keep their order of
 * insertion, later ones to the right: mremap's choice of locks depends on it. A value leads to its node, as a vma's
 * shared.rb does, so that whatever the starts are, all but queries take logarithmic time.
 */
export class IntervalTree<T> {
  #root: IntervalNode<T> | null = null;
  readonly #nodes = new Map<T, IntervalNode<T>>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Adds [start, last]. Throws RangeError if last < start. */
  insert(start: number, last: number, value: T): void {
    const added = new IntervalNode(start, last, value);
    let parent: IntervalNode<T> | null = null;
    let below = this.#root;
    while (below !== null) {
      parent = below;
      below = start < below.start ? below.left : below.right;
    }
    this.#link(added, parent, parent !== null && start < parent.start);
  }

  /**
   * Adds an interval with the same start as one that is there, directly after it: fork's vma follows its parent's
   * (vma_interval_tree_insert_after). Throws TypeError if nothing was inserted with that start and value.
   */
  insertAfter(previous: T, start: number, last: number, value: T): void {
    const added = new IntervalNode(start, last, value);
    const before = this.#nodeOf(start, previous);
    if (before === null) {
      throw new TypeError(`no interval that starts at ${start} has the value to insert after`);
    }
    if (before.right === null) this.#link(added, before, false);
    else this.#link(added, leastOf(before.right), true);
  }

  /** Removes the interval that was inserted with this value and start; returns whether there was one. */
  remove(start: number, value: T): boolean {
    const node = this.#nodeOf(start, value);
    if (node === null) return false;
    this.#forget(node);
    this.#size--;
    if (node.left === null || node.right === null) {
      this.#replace(node, node.left ?? node.right);
      this.#rebalance(node.parent);
      return true;
    }
    const heir = leastOf(node.right);
    const from = heir.parent === node ? heir : heir.parent;
    this.#replace(heir, heir.right);
    this.#replace(node, heir);
    setLeft(heir, node.left);
    setRight(heir, node.right);
    this.#rebalance(from);
    return true;
  }

  /** Values whose interval meets [start, last], in tree order. */
  overlapping(start: number, last: number): T[] {
    const found: T[] = [];
    for (let node = this.first(start, last); node !== null; node = nextInterval(node, start, last)) {
      found.push(node.value);
    }
    return found;
  }

  /** The first interval, in tree order, that meets [start, last] (interval_tree_iter_first). */
  first(start: number, last: number): IntervalNode<T> | null {
    checkInterval(start, last);
    return this.#root === null ? null : firstBelow(this.#root, start, last);
  }

  #nodeOf(start: number, value: T): IntervalNode<T> | null {
    let node = this.#nodes.get(value) ?? null;
    while (node !== null && node.start !== start) node = node.namesake;
    return node;
  }

  #forget(node: IntervalNode<T>): void {
    let other = this.#nodes.get(node.value);
    if (other === node) {
      if (node.namesake === null) this.#nodes.delete(node.value);
      else this.#nodes.set(node.value, node.namesake);
      return;
    }
    while (other !== undefined && other.namesake !== node) other = other.namesake ?? undefined;
    if (other !== undefined) other.namesake = node.namesake;
  }

  #link(added: IntervalNode<T>, parent: IntervalNode<T> | null, left: boolean): void {
    added.namesake = this.#nodes.get(added.value) ?? null;
    this.#nodes.set(added.value, added);
    this.#size++;
    if (parent === null) this.#root = added;
    else if (left) setLeft(parent, added);
    else setRight(parent, added);
    this.#rebalance(parent);
  }

  /** Puts a subtree in another's place. */
  #replace(node: IntervalNode<T>, by: IntervalNode<T> | null): void {
    const { parent } = node;
    if (parent === null) this.#root = by;
    else if (parent.left === node) parent.left = by;
    else parent.right = by;
    if (by !== null) by.parent = parent;
  }

  /** From a node whose subtree has changed up to the root. */
  #rebalance(from: IntervalNode<T> | null): void {
    for (let node = from; node !== null; node = node.parent) {
      update(node);
      const tilt = heightOf(node.left) - heightOf(node.right);
      if (tilt > 1) {
        if (heightOf(node.left!.left) < heightOf(node.left!.right)) this.#rotateLeft(node.left!);
        node = this.#rotateRight(node);
      } else if (tilt < -1) {
        if (heightOf(node.right!.right) < heightOf(node.right!.left)) this.#rotateRight(node.right!);
        node = this.#rotateLeft(node);
      }
    }
  }

  #rotateRight(node: IntervalNode<T>): IntervalNode<T> {
    const top = node.left!;
    this.#replace(node, top);
    setLeft(node, top.right);
    setRight(top, node);
    update(node);
    update(top);
    return top;
  }

  #rotateLeft(node: IntervalNode<T>): IntervalNode<T> {
    const top = node.right!;
    this.#replace(node, top);
    setRight(node, top.left);
    setLeft(top, node);
    update(node);
    update(top);
    return top;
  }
}

/** The one that meets [start, last] after a node of which the same is true (interval_tree_iter_next). */
export function nextInterval<T>(after: IntervalNode<T>, start: number, last: number): IntervalNode<T> | null {
  if (after.right !== null) {
    const found = firstBelow(after.right, start, last);
    if (found !== null) return found;
  }
  let node = after;
  for (let parent = node.parent; parent !== null; node = parent, parent = node.parent) {
    if (node === parent.right) continue;
    if (parent.start > last) return null;
    if (parent.last >= start) return parent;
    const found = parent.right === null ? null : firstBelow(parent.right, start, last);
    if (found !== null) return found;
  }
  return null;
}

/** The first in a subtree that meets [start, last]. */
function firstBelow<T>(root: IntervalNode<T>, start: number, last: number): IntervalNode<T> | null {
  let node: IntervalNode<T> | null = root;
  while (node !== null && node.subtreeLast >= start) {
    // If one on the left ends late enough, the first that does is there, or its start and all behind it are too high.
    if (node.left !== null && node.left.subtreeLast >= start) node = node.left;
    else if (node.start > last) return null;
    else if (node.last >= start) return node;
    else node = node.right;
  }
  return null;
}

function leastOf<T>(root: IntervalNode<T>): IntervalNode<T> {
  let node = root;
  while (node.left !== null) node = node.left;
  return node;
}

function setLeft<T>(node: IntervalNode<T>, child: IntervalNode<T> | null): void {
  node.left = child;
  if (child !== null) child.parent = node;
}

function setRight<T>(node: IntervalNode<T>, child: IntervalNode<T> | null): void {
  node.right = child;
  if (child !== null) child.parent = node;
}

function heightOf<T>(node: IntervalNode<T> | null): number {
  return node === null ? 0 : node.height;
}

function update<T>(node: IntervalNode<T>): void {
  node.height = 1 + Math.max(heightOf(node.left), heightOf(node.right));
  let last = node.last;
  if (node.left !== null && node.left.subtreeLast > last) last = node.left.subtreeLast;
  if (node.right !== null && node.right.subtreeLast > last) last = node.right.subtreeLast;
  node.subtreeLast = last;
}
