/* SPDX-License-Identifier: MIT */
/*
 * The types and built-in functions of the Python package, made by hand of what
 * CPython's stable ABI offers: what an extension module would be, without one
 * for each Python version. python_bus.c and python_rpc.c have what they do.
 *
 * All of this is entered with the interpreter's lock held, and none of it
 * sleeps. What is not quick, and every error, is left to functions of the
 * package written in Python.
 */
#include "python.h"

#define PYTHON_TYPES 6

struct python python;
static atomic_flag taken = ATOMIC_FLAG_INIT;

#define NAME(result, name, arguments) #name " "

TACHYON_API const char *tachyon_python_needs(void) {
        return PYTHON_FUNCTIONS(NAME);
}

/* ---- types -------------------------------------------------------------- */

static const PyMemberDef end_members[] = {
        { "_address", T_ULONGLONG, offsetof(struct python_end, bus), 0, NULL },
        { "_rpc_address", T_ULONGLONG, offsetof(struct python_end, rpc), 0, NULL },
        { 0 },
};

static const PyType_Slot end_slots[] = {
        { Py_tp_members, { .data = end_members } },
        { 0 },
};

static const PyMemberDef message_members[] = {
        { "data", T_OBJECT_EX, offsetof(struct python_message, data), 0, "The payload, bytes." },
        { "type_id", T_OBJECT_EX, offsetof(struct python_message, type_id), 0, "The sender's tag." },
        { 0 },
};

void python_free(PyObject *self, const PyObject *type) {
        PyObject *own = self->ob_type;
        freefunc release = python.PyObject_Free;

        if (own != type)
                release = python.PyType_GetSlot(own, Py_tp_free);
        release(self);
        python.Py_DecRef(own);
}

static void message_free(PyObject *self) {
        struct python_message *message = (void *)self;

        if (message->data)
                python.Py_DecRef(message->data);
        if (message->type_id)
                python.Py_DecRef(message->type_id);
        python_free(self, python.the_Message);
}

static const PyType_Slot message_slots[] = {
        { Py_tp_dealloc, { .function = (void (*)(void))message_free } },
        { Py_tp_members, { .data = message_members } },
        { 0 },
};

static const PyType_Spec end_spec = {
        "tachyon._builtin.EndBase", sizeof(struct python_end), 0, Py_TPFLAGS_BASETYPE, end_slots,
};
static const PyType_Spec bus_spec = {
        "tachyon._builtin.BusBase", sizeof(struct python_end), 0, Py_TPFLAGS_BASETYPE, python_bus_slots,
};
static const PyType_Spec message_spec = {
        "tachyon.Message", sizeof(struct python_message), 0, Py_TPFLAGS_BASETYPE, message_slots,
};

static const PyType_Spec request_spec = {
        "tachyon.Request", sizeof(struct python_request), 0, Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
        python_request_slots,
};

static int make_types(void *types[PYTHON_TYPES]) {
        const PyType_Spec lease_spec = {
                "tachyon.Lease", python_lease_size, 0, Py_TPFLAGS_BASETYPE, python_lease_slots,
        };
        const PyType_Spec view_spec = {
                "tachyon._builtin.View", python_view_size, 0, Py_TPFLAGS_DISALLOW_INSTANTIATION,
                python_view_slots,
        };
        const PyType_Spec *specs[PYTHON_TYPES] = {
                &end_spec, &bus_spec, &message_spec, &request_spec, &lease_spec, &view_spec,
        };

        for (int i = 0; i < PYTHON_TYPES; i++) {
                types[i] = python.PyType_FromSpecWithBases(specs[i], specs[i] == &bus_spec ? types[0] : NULL);
                if (!types[i])
                        return -ENOMEM;
        }
        return 0;
}

/* ---- setting up --------------------------------------------------------- */

#define TAKE(result, name, arguments) python.name = (result(*) arguments) functions[i++];

TACHYON_API int tachyon_python_start(void (*const *functions)(void), void **types) {
        size_t i = 0;

        if (atomic_flag_test_and_set(&taken))
                return fail(EBUSY, "another interpreter of this process has the built-in functions");
        PYTHON_FUNCTIONS(TAKE)
        return make_types(types);
}

#define SET(known)                            \
        if (strcmp(name, #known) == 0) {      \
                python.the_##known = object;  \
                python.Py_IncRef(object);     \
                return 0;                     \
        }

/* A reference is kept for ever: objects may be used until the process has ended. */
TACHYON_API int tachyon_python_set(const char *name, void *object) {
        PYTHON_OBJECTS(SET)
        return fail(EINVAL, "no object %s is wanted", name);
}

static PyMethodDef *find_method(PyMethodDef *method, const char *name) {
        for (; method->ml_name; method++)
                if (strcmp(method->ml_name, name) == 0)
                        return method;
        return NULL;
}

TACHYON_API void *tachyon_python_method(const char *name, void *type, const char *doc) {
        PyMethodDef *method = find_method(python_bus_methods, name);

        if (type == python.the_Request)
                method = find_method(python_request_methods, name);
        if (!method)
                method = find_method(python_lease_methods, name);
        if (!method)
                method = find_method(python_rpc_methods, name);
        if (!method) {
                fail(EINVAL, "there is no method %s", name);
                return NULL;
        }
        method->ml_doc = strdup(doc); /* for ever, as above */
        return python.PyDescr_NewMethod(type, method);
}

/* ---- what the built-in functions share ---------------------------------- */

static PyObject *tuple_of(PyObject *const first[], Py_ssize_t first_count, PyObject *const args[],
                          Py_ssize_t count) {
        PyObject *tuple = python.PyTuple_New(first_count + count);

        for (Py_ssize_t i = 0; tuple && i < first_count + count; i++) {
                PyObject *item = i < first_count ? first[i] : args[i - first_count];

                python.Py_IncRef(item);
                python.PyTuple_SetItem(tuple, i, item);
        }
        return tuple;
}

static PyObject *dict_of(PyObject *names, PyObject *const values[]) {
        PyObject *dict = python.PyDict_New();
        Py_ssize_t count = python.PyTuple_Size(names);

        for (Py_ssize_t i = 0; dict && i < count; i++) {
                if (python.PyDict_SetItem(dict, python.PyTuple_GetItem(names, i), values[i]) < 0) {
                        python.Py_DecRef(dict);
                        return NULL;
                }
        }
        return dict;
}

PyObject *python_call(PyObject *function, PyObject *const first[], Py_ssize_t first_count,
                      PyObject *const args[], Py_ssize_t count, PyObject *names) {
        PyObject *tuple = tuple_of(first, first_count, args, count), *dict = NULL, *result = NULL;

        if (tuple && names)
                dict = dict_of(names, args + count);
        if (tuple && (dict || !names))
                result = python.PyObject_Call(function, tuple, dict);
        if (dict)
                python.Py_DecRef(dict);
        if (tuple)
                python.Py_DecRef(tuple);
        return result;
}

bool python_small_number(PyObject *object, uint32_t *numberp) {
        unsigned long long number;

        if (object->ob_type != python.the_int)
                return false;
        number = python.PyLong_AsUnsignedLongLong(object);
        if (number > UINT32_MAX) {
                if (number == ULLONG_MAX && python.PyErr_Occurred())
                        python.PyErr_Clear();
                return false;
        }
        *numberp = (uint32_t)number;
        return true;
}

bool python_find_number(PyObject *const args[], Py_ssize_t count, PyObject *names, Py_ssize_t place,
                        Py_ssize_t most, PyObject *name, uint32_t *numberp) {
        *numberp = 0;
        if (likely(count == place && !names))
                return true;
        if (names ? count != place || python.PyTuple_Size(names) != 1 || python.PyTuple_GetItem(names, 0) != name
                  : count < place || count > most)
                return false;
        return python_small_number(args[place], numberp);
}

bool python_is_timeout(Py_ssize_t count, PyObject *names) {
        if (likely(!names))
                return count <= 1;
        return count == 0 && python.PyTuple_Size(names) == 1 &&
               python.PyTuple_GetItem(names, 0) == python.the_timeout;
}

PyObject *python_call_later(PyObject *function, PyObject *self, uint64_t number, PyObject *const args[],
                            Py_ssize_t count, PyObject *names) {
        PyObject *first[] = { self, python.PyLong_FromUnsignedLongLong(number) }, *result;

        if (!first[1])
                return NULL;
        result = python_call(function, first, 2, args, count, names);
        python.Py_DecRef(first[1]);
        return result;
}
