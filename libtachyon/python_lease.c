/* SPDX-License-Identifier: MIT */
/*
 * Leases for Python: Bus.recv_zero_copy(), and what views of the ring are made of.
 *
 *      frame  <-  python_view  <-  memoryview lease.data, slices of it, NumPy arrays
 *
 * A python_view is what Python calls an exporter. Each view, and each view of a
 * view, keeps a reference to it, whatever becomes of the lease and of the bus;
 * when the last reference goes, in whatever thread, the frame is given back. It
 * refers to no other object, so the garbage collector need not know of it: that
 * would take it for dead while finalizers still look at it.
 */
#include "python.h"

struct python_view {
        PyObject head;
        struct tachyon_bus *bus; /* freed, perhaps, but for its leases */
        uint64_t lease;
        void *data;
        uint64_t size;
        bool writable;
        int64_t taken_ns;
        PyObject *where; /* a str: the line that took it, where that is traced; or NULL */
        struct python_view *older, *newer;
};

struct python_lease {
        PyObject head;
        PyObject *data; /* a memoryview of a python_view, or the released one */
        PyObject *type_id;
        PyObject *size;
};

/* All views, for LeaseError. The interpreter's lock guards it. */
static struct python_view *newest;

/* ---- views -------------------------------------------------------------- */

static void view_link(struct python_view *view) {
        view->older = newest;
        view->newer = NULL;
        if (newest)
                newest->newer = view;
        newest = view;
}

static void view_unlink(struct python_view *view) {
        if (view->older)
                view->older->newer = view->newer;
        if (view->newer)
                view->newer->older = view->older;
        else
                newest = view->older;
}

static void view_free(PyObject *self) {
        struct python_view *view = (void *)self;
        PyObject *type = self->ob_type;

        view_unlink(view);
        tachyon_bus_release(view->bus, view->lease);
        if (view->where)
                python.Py_DecRef(view->where);
        python.PyObject_Free(self);
        python.Py_DecRef(type);
}

static int view_get_buffer(PyObject *self, Py_buffer *buffer, int flags) {
        struct python_view *view = (void *)self;

        return python.PyBuffer_FillInfo(buffer, self, view->data, (Py_ssize_t)view->size, !view->writable,
                                        flags);
}

const PyType_Slot python_view_slots[] = {
        { Py_tp_dealloc, { .function = (void (*)(void))view_free } },
        { Py_bf_getbuffer, { .function = (void (*)(void))view_get_buffer } },
        { 0 },
};
const int python_view_size = sizeof(struct python_view);

/* A memoryview; NULL where there is no memory for it, and then the lease is given back. */
static PyObject *make_view(struct tachyon_bus *bus, const void *data, uint64_t size, uint64_t lease,
                           PyObject *where) {
        struct python_view *view = (void *)python.PyType_GenericAlloc(python.the_View, 0);
        PyObject *memory;

        if (unlikely(!view)) {
                tachyon_bus_release(bus, lease);
                return NULL;
        }
        view->bus = bus;
        view->lease = lease;
        view->data = (void *)(uintptr_t)data;
        view->size = size;
        view->writable = bus->settings.trusted;
        view->taken_ns = now_ns();
        if (where) {
                python.Py_IncRef(where);
                view->where = where;
        }
        view_link(view);
        memory = python.PyMemoryView_FromObject(&view->head);
        python.Py_DecRef(&view->head); /* the memoryview has its own reference */
        return memory;
}

/* (self, address, size, lease, where): a memoryview that gives the lease back when all views of it are gone. */
static PyObject *end_view(PyObject *self, PyObject *const args[], Py_ssize_t count, PyObject *names) {
        struct tachyon_bus *bus = ((struct python_end *)(void *)self)->bus;

        if (count != 4 || names)
                return NULL;
        return make_view(bus, (const void *)(uintptr_t)python.PyLong_AsUnsignedLongLong(args[0]),
                         python.PyLong_AsUnsignedLongLong(args[1]), python.PyLong_AsUnsignedLongLong(args[2]),
                         args[3] == python.the_None_ ? NULL : args[3]);
}

/*
 * (self): a list of when each lease was taken, on now_ns()'s clock, and where or
 * None; the newest first. Nothing in the loop lets the collector run, which could
 * end a view.
 */
static PyObject *end_leases(PyObject *self, PyObject *const args[], Py_ssize_t count, PyObject *names) {
        struct tachyon_bus *bus = ((struct python_end *)(void *)self)->bus;
        PyObject *list = python.PyList_New(0);

        (void)args;
        (void)count;
        (void)names;
        for (struct python_view *view = newest; list && view; view = view->older) {
                PyObject *when;
                int r;

                if (view->bus != bus)
                        continue;
                when = python.PyLong_FromUnsignedLongLong((uint64_t)view->taken_ns);
                r = when ? python.PyList_Append(list, when) : -1;
                if (r == 0)
                        r = python.PyList_Append(list, view->where ? view->where : python.the_None_);
                if (when)
                        python.Py_DecRef(when);
                if (r < 0) {
                        python.Py_DecRef(list);
                        return NULL;
                }
        }
        return list;
}

/* ---- leases ------------------------------------------------------------- */

static const PyMemberDef lease_members[] = {
        { "data", T_OBJECT_EX, offsetof(struct python_lease, data), 0, "The payload: a memoryview." },
        { "type_id", T_OBJECT_EX, offsetof(struct python_lease, type_id), 0, "The sender's tag." },
        { "size", T_OBJECT_EX, offsetof(struct python_lease, size), 0, "Payload bytes." },
        { 0 },
};

static void drop(PyObject *object) {
        if (object)
                python.Py_DecRef(object);
}

static void lease_free(PyObject *self) {
        struct python_lease *lease = (void *)self;

        drop(lease->data);
        drop(lease->type_id);
        drop(lease->size);
        python_free(self, python.the_Lease);
}

/* memoryview(lease): its data, which may be gone. */
static int lease_get_buffer(PyObject *self, Py_buffer *buffer, int flags) {
        struct python_lease *lease = (void *)self;

        return python.PyObject_GetBuffer(lease->data ? lease->data : python.the_released, buffer, flags);
}

const PyType_Slot python_lease_slots[] = {
        { Py_tp_dealloc, { .function = (void (*)(void))lease_free } },
        { Py_bf_getbuffer, { .function = (void (*)(void))lease_get_buffer } },
        { Py_tp_members, { .data = lease_members } },
        { 0 },
};
const int python_lease_size = sizeof(struct python_lease);

/* Or NULL, and the message is given back. */
static PyObject *make_lease(struct tachyon_bus *bus, const tachyon_message *message) {
        PyObject *data = make_view(bus, message->data, message->size, message->lease, NULL);
        struct python_lease *lease;

        if (unlikely(!data))
                return NULL;
        lease = (void *)python.PyType_GenericAlloc(python.the_Lease, 0);
        if (unlikely(!lease)) {
                python.Py_DecRef(data);
                return NULL;
        }
        lease->data = data;
        lease->type_id = python.PyLong_FromUnsignedLongLong(message->type_id);
        lease->size = python.PyLong_FromUnsignedLongLong(message->size);
        if (likely(lease->type_id && lease->size))
                return &lease->head;
        python.Py_DecRef(&lease->head);
        return NULL;
}

static PyObject *bus_recv_zero_copy(PyObject *self, PyObject *const args[], Py_ssize_t count, PyObject *names) {
        struct tachyon_bus *bus = ((struct python_end *)(void *)self)->bus;
        tachyon_message message;

        if (likely(bus && python_is_timeout(count, names)) && likely(tachyon_bus_recv(bus, &message, 0) == 0))
                return make_lease(bus, &message);
        return python_call(python.the_recv_zero_copy, &self, 1, args, count, names);
}

/* (self, most): a list of leases on what is there; an empty one where that is nothing, or an error. */
static PyObject *bus_drain(PyObject *self, PyObject *const args[], Py_ssize_t count, PyObject *names) {
        struct tachyon_bus *bus = ((struct python_end *)(void *)self)->bus;
        PyObject *list = python.PyList_New(0), *lease;
        tachyon_message message;
        uint32_t most;
        int r;

        if (!list || !bus || names || count != 1 || !python_small_number(args[0], &most))
                return list;
        while (most-- && tachyon_bus_recv(bus, &message, 0) == 0) {
                lease = make_lease(bus, &message);
                r = lease ? python.PyList_Append(list, lease) : -1;
                drop(lease);
                if (unlikely(r < 0)) {
                        python.Py_DecRef(list);
                        return NULL;
                }
        }
        return list;
}

/* Where nobody else has the memoryview, its end is enough; else it has to be told. */
static PyObject *lease_exit(PyObject *self, PyObject *const args[], Py_ssize_t count, PyObject *names) {
        struct python_lease *lease = (void *)self;
        PyObject *view = lease->data, *done;

        (void)args;
        (void)count;
        (void)names;
        python.Py_IncRef(python.the_released);
        lease->data = python.the_released;
        if (view && view->ob_refcnt != 1) {
                done = python_call(python.the_end_view, &view, 1, NULL, 0, NULL);
                python.Py_DecRef(view);
                return done;
        }
        drop(view);
        return python_none();
}

static PyObject *lease_release(PyObject *self, PyObject *const args[], Py_ssize_t count, PyObject *names) {
        if (unlikely(count || names))
                return python_call(python.the_release, &self, 1, args, count, names);
        return lease_exit(self, args, count, names);
}

static PyObject *lease_enter(PyObject *self, PyObject *const args[], Py_ssize_t count, PyObject *names) {
        (void)args;
        (void)count;
        (void)names;
        python.Py_IncRef(self);
        return self;
}

PyMethodDef python_lease_methods[] = {
        { "recv_zero_copy", bus_recv_zero_copy, METH_FASTCALL | METH_KEYWORDS, NULL },
        { "_drain", bus_drain, METH_FASTCALL | METH_KEYWORDS, NULL },
        { "_view", end_view, METH_FASTCALL | METH_KEYWORDS, NULL },
        { "_leases", end_leases, METH_FASTCALL | METH_KEYWORDS, NULL },
        { "release", lease_release, METH_FASTCALL | METH_KEYWORDS, NULL },
        { "__enter__", lease_enter, METH_FASTCALL | METH_KEYWORDS, NULL },
        { "__exit__", lease_exit, METH_FASTCALL | METH_KEYWORDS, NULL },
        { 0 },
};
